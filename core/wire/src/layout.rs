//! Fixed layouts: one table of fields per message, from which everything else about it is made.
//!
//! `layouts!` turns a protocol's table into, for each message, a zero-copy view (`view::Name`, reads a field
//! when asked), an owned struct (`Name`, encodes), its [`Layout`] for generic tools, and over all of them the
//! enum of views, `decode` and a table of lengths. Integers are big-endian. Alpha fields are raw bytes,
//! padded right with spaces. A table whose fields overlap, leave a hole or miss the length does not compile.
//!
//! Absent: variable-length parts; the protocols that have them add them by hand.

/// How the bytes of a field are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ASCII, left-justified, padded right with spaces.
    Alpha,
    /// Unsigned integer, big-endian, of the field's size.
    Unsigned,
    /// Signed integer, big-endian, of the field's size.
    Signed,
    /// Unsigned price, 4 implied decimals.
    Price4,
    /// Signed price difference, 4 implied decimals.
    SignedPrice4,
    /// Unsigned price, 8 implied decimals.
    Price8,
}

/// One field of a fixed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the protocol's specification calls it, in snake case.
    pub name: &'static str,
    /// First byte, counted from the start of the message.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// How to read them.
    pub kind: Kind,
}

/// The fixed layout of one message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The type byte.
    pub kind: u8,
    /// As the protocol's specification calls it, in snake case.
    pub name: &'static str,
    /// Bytes, type byte included.
    pub length: usize,
    /// In the order of their offsets, without holes; the first is the type byte.
    pub fields: &'static [Field],
}

impl Layout {
    /// True when the fields cover the message without overlap or hole.
    pub(crate) const fn is_contiguous(&self) -> bool {
        let mut next = 0;
        let mut i = 0;
        while i < self.fields.len() {
            if self.fields[i].offset != next {
                return false;
            }
            next += self.fields[i].size;
            i += 1;
        }
        next == self.length
    }
}

/// The field that every message begins with.
pub(crate) const TYPE_FIELD: Field = Field { name: "message_type", offset: 0, size: 1, kind: Kind::Alpha };

/// `K` bytes at a constant offset: the check disappears, because the message's length is known.
#[inline(always)]
pub(crate) const fn array_at<const N: usize, const K: usize>(bytes: &[u8; N], at: usize) -> &[u8; K] {
    match bytes.split_at(at).1.first_chunk() {
        Some(array) => array,
        None => panic!("a field of a layout lies outside its message"),
    }
}

/// Reads 6 bytes as the low part of an 8-byte load that begins two bytes earlier.
#[inline(always)]
pub(crate) const fn u48_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_be_bytes(*array_at(bytes, at - 2)) & MAX_U48
}

/// Largest value of a 6-byte integer.
pub(crate) const MAX_U48: u64 = (1 << 48) - 1;

/// The low six bytes. A value that does not fit is a mistake of the caller.
#[inline(always)]
pub(crate) const fn u48_bytes(value: u64) -> [u8; 6] {
    assert!(value <= MAX_U48, "a 48-bit field cannot hold this value: timestamps are nanoseconds since midnight");
    let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
    [a, b, c, d, e, f]
}

/// The Rust type of an owned field.
macro_rules! owned_type {
    (u16) => {
        u16
    };
    (u32) => {
        u32
    };
    (u48) => {
        u64
    };
    (u64) => {
        u64
    };
    (price4) => {
        u32
    };
    (price4_wide) => {
        u64
    };
    (price8) => {
        u64
    };
    (char) => {
        u8
    };
    ([u8; $size:literal]) => {
        [u8; $size]
    };
}

/// The Rust type of a field read through a view.
macro_rules! view_type {
    ([u8; $size:literal]) => { &'a [u8; $size] };
    ($number:tt) => { $crate::layout::owned_type!($number) };
}

/// An owned field from what the view gives.
macro_rules! own_field {
    ([u8; $size:literal], $value:expr) => {
        *$value
    };
    ($number:tt, $value:expr) => {
        $value
    };
}

/// Reads a field from the array of its message.
macro_rules! read_field {
    (u16, $bytes:expr, $at:literal) => {
        u16::from_be_bytes(*$crate::layout::array_at($bytes, $at))
    };
    (u32, $bytes:expr, $at:literal) => {
        u32::from_be_bytes(*$crate::layout::array_at($bytes, $at))
    };
    (u48, $bytes:expr, $at:literal) => {
        $crate::layout::u48_at($bytes, $at)
    };
    (u64, $bytes:expr, $at:literal) => {
        u64::from_be_bytes(*$crate::layout::array_at($bytes, $at))
    };
    (price4, $bytes:expr, $at:literal) => {
        $crate::layout::read_field!(u32, $bytes, $at)
    };
    (price4_wide, $bytes:expr, $at:literal) => {
        $crate::layout::read_field!(u64, $bytes, $at)
    };
    (price8, $bytes:expr, $at:literal) => {
        $crate::layout::read_field!(u64, $bytes, $at)
    };
    (char, $bytes:expr, $at:literal) => {
        $bytes[$at]
    };
    ([u8; $size:literal], $bytes:expr, $at:literal) => {
        $crate::layout::array_at::<_, $size>($bytes, $at)
    };
}

/// The bytes of an owned field.
macro_rules! field_bytes {
    (u48, $value:expr) => {
        $crate::layout::u48_bytes($value)
    };
    (char, $value:expr) => {
        [$value]
    };
    ([u8; $size:literal], $value:expr) => {
        $value
    };
    ($number:tt, $value:expr) => {
        $value.to_be_bytes()
    };
}

/// Size and kind for the field table.
macro_rules! field_entry {
    ($name:ident, $at:literal, u16) => { $crate::layout::field_entry!(@ $name, $at, 2, Unsigned) };
    ($name:ident, $at:literal, u32) => { $crate::layout::field_entry!(@ $name, $at, 4, Unsigned) };
    ($name:ident, $at:literal, u48) => { $crate::layout::field_entry!(@ $name, $at, 6, Unsigned) };
    ($name:ident, $at:literal, u64) => { $crate::layout::field_entry!(@ $name, $at, 8, Unsigned) };
    ($name:ident, $at:literal, price4) => { $crate::layout::field_entry!(@ $name, $at, 4, Price4) };
    ($name:ident, $at:literal, price4_wide) => { $crate::layout::field_entry!(@ $name, $at, 8, Price4) };
    ($name:ident, $at:literal, price8) => { $crate::layout::field_entry!(@ $name, $at, 8, Price8) };
    ($name:ident, $at:literal, char) => { $crate::layout::field_entry!(@ $name, $at, 1, Alpha) };
    ($name:ident, $at:literal, [u8; $size:literal]) => { $crate::layout::field_entry!(@ $name, $at, $size, Alpha) };
    (@ $name:ident, $at:literal, $size:literal, $kind:ident) => {
        $crate::layout::Field { name: stringify!($name), offset: $at, size: $size, kind: $crate::layout::Kind::$kind }
    };
}

/// One message: the owned struct.
macro_rules! owned_message {
    (
        { $($common:tt)* }
        $(#[$doc:meta])*
        $type:literal $Name:ident $label:literal $length:literal { $($own:tt)* }
    ) => {
        $crate::layout::owned_message! { @ $(#[$doc])* $type $Name $label $length { $($common)* $($own)* } }
    };
    (
        @ $(#[$doc:meta])*
        $type:literal $Name:ident $label:literal $length:literal { $($field:ident: $kind:tt @ $at:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Name {
            $(#[allow(missing_docs)] pub $field: $crate::layout::owned_type!($kind),)*
        }

        impl $Name {
            /// The type byte.
            pub const TYPE: u8 = $type;
            /// Bytes of the fixed part, type byte included.
            pub const LENGTH: usize = $length;
            /// Name, length and fields.
            pub const LAYOUT: &'static $crate::layout::Layout = &$crate::layout::Layout {
                kind: $type,
                name: $label,
                length: $length,
                fields: &[
                    $crate::layout::TYPE_FIELD,
                    $($crate::layout::field_entry!($field, $at, $kind),)*
                ],
            };

            /// The message's bytes.
            #[inline]
            pub fn encode(&self) -> [u8; $length] {
                let mut out = [0; $length];
                out[0] = $type;
                $({
                    let bytes = $crate::layout::field_bytes!($kind, self.$field);
                    out[$at..$at + bytes.len()].copy_from_slice(&bytes);
                })*
                out
            }

            /// Writes the message at the start of `out`, without allocation, and returns its length.
            /// Panics when `out` is shorter than the message.
            #[inline]
            pub fn encode_into(&self, out: &mut [u8]) -> usize {
                let Some(start) = out.first_chunk_mut() else {
                    panic!("a {} needs {} bytes of room, the buffer has {}", $label, $length, out.len());
                };
                *start = self.encode();
                $length
            }

            /// Appends the message to `out`.
            #[inline]
            pub fn append_to(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.encode());
            }
        }

        const _: () = assert!($Name::LAYOUT.is_contiguous(), "the layout's fields overlap, leave a hole or miss its length");
    };
}

/// One message: the view. Expands inside `mod view`.
macro_rules! view_message {
    (
        { $($common:tt)* }
        $(#[$doc:meta])*
        $type:literal $Name:ident $label:literal $length:literal { $($own:tt)* }
    ) => {
        $crate::layout::view_message! { @ $(#[$doc])* $type $Name $length { $($common)* $($own)* } }
    };
    (
        @ $(#[$doc:meta])*
        $type:literal $Name:ident $length:literal { $($field:ident: $kind:tt @ $at:literal,)* }
    ) => {
        $(#[$doc])*
        ///
        /// A view: the bytes stay where they are, a field is read when asked for.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $Name<'a>(pub(super) &'a [u8; $length]);

        impl<'a> $Name<'a> {
            /// Looks at bytes of the right length whose first byte is the type; `None` for others.
            #[inline]
            pub fn new(bytes: &'a [u8; $length]) -> Option<Self> {
                (bytes[0] == $type).then_some(Self(bytes))
            }

            /// The whole message.
            #[inline]
            pub fn bytes(self) -> &'a [u8; $length] {
                self.0
            }

            $(
                #[allow(missing_docs)]
                #[inline(always)]
                pub fn $field(self) -> $crate::layout::view_type!($kind) {
                    $crate::layout::read_field!($kind, self.0, $at)
                }
            )*

            /// All fields at once, to keep or to change.
            pub fn owned(self) -> super::$Name {
                super::$Name { $($field: $crate::layout::own_field!($kind, self.$field()),)* }
            }
        }

        impl std::fmt::Debug for $Name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.owned().fmt(f)
            }
        }
    };
}

/// A whole protocol: see the module's first paragraph.
macro_rules! layouts {
    (
        common $common:tt
        $(
            $(#[$doc:meta])*
            $type:literal $Name:ident $label:literal $length:literal $fields:tt
        )*
    ) => {
        $($crate::layout::owned_message! { $common $(#[$doc])* $type $Name $label $length $fields })*

        /// Zero-copy views, one per message, named as the owned structs.
        pub mod view {
            $($crate::layout::view_message! { $common $(#[$doc])* $type $Name $label $length $fields })*
        }

        /// Any message of this protocol, as a view of the bytes it came in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> {
            $($(#[$doc])* $Name(view::$Name<'a>),)*
        }

        impl<'a> Message<'a> {
            /// The fixed part's bytes, type byte first.
            #[inline]
            pub fn bytes(&self) -> &'a [u8] {
                match self {
                    $(Self::$Name(message) => message.bytes(),)*
                }
            }

            /// Name, length and fields.
            pub fn layout(&self) -> &'static $crate::layout::Layout {
                match self {
                    $(Self::$Name(_) => $Name::LAYOUT,)*
                }
            }

            /// Builds the owned struct and encodes that: the way that a changed message would take.
            pub fn reencode(&self) -> Vec<u8> {
                match self {
                    $(Self::$Name(message) => message.owned().encode().to_vec(),)*
                }
            }
        }

        /// Every message type, in the order of the specification.
        pub const LAYOUTS: &[&$crate::layout::Layout] = &[$($Name::LAYOUT),*];

        /// Length by type byte; zero for bytes that are no type.
        pub const LENGTHS: [u8; 256] = {
            let mut lengths = [0; 256];
            $(
                assert!(lengths[$type as usize] == 0, "two messages have the same type byte");
                lengths[$type as usize] = $length;
            )*
            lengths
        };

        /// The layout of a type, if the protocol has it.
        pub fn layout(kind: u8) -> Option<&'static $crate::layout::Layout> {
            LAYOUTS.iter().copied().find(|layout| layout.kind == kind)
        }

        /// The message whose fixed part `bytes` begins with; bytes after it are not looked at.
        /// `None` for an unknown type and when the fixed part is not complete.
        #[inline]
        #[allow(dead_code)]
        pub(crate) fn decode_start(bytes: &[u8]) -> Option<Message<'_>> {
            match *bytes.first()? {
                $($type => Some(Message::$Name(view::$Name(bytes.first_chunk()?))),)*
                _ => None,
            }
        }

        /// The message that `bytes` is, whole and exact.
        #[inline(always)]
        #[allow(dead_code)]
        pub(crate) fn decode_exact(bytes: &[u8]) -> Result<Message<'_>, $crate::WireError> {
            let Some(&kind) = bytes.first() else {
                return Err($crate::WireError::Empty);
            };
            match kind {
                $($type => match bytes.try_into() {
                    Ok(bytes) => Ok(Message::$Name(view::$Name(bytes))),
                    Err(_) => Err($crate::WireError::WrongLength { kind, expected: $length, found: bytes.len() }),
                },)*
                _ => Err($crate::WireError::UnknownType(kind)),
            }
        }
    };
}

pub(crate) use {
    field_bytes, field_entry, layouts, own_field, owned_message, owned_type, read_field, view_message, view_type,
};

#[cfg(test)]
mod tests {
    use super::*;

    const fn layout_of(length: usize, fields: &'static [Field]) -> Layout {
        Layout { kind: b'x', name: "x", length, fields }
    }

    #[test]
    fn a_hole_an_overlap_and_a_wrong_length_are_seen() {
        const GOOD: &[Field] = &[TYPE_FIELD, Field { name: "a", offset: 1, size: 2, kind: Kind::Unsigned }];
        const HOLE: &[Field] = &[TYPE_FIELD, Field { name: "a", offset: 2, size: 2, kind: Kind::Unsigned }];
        const OVERLAP: &[Field] = &[TYPE_FIELD, Field { name: "a", offset: 0, size: 2, kind: Kind::Unsigned }];
        assert!(layout_of(3, GOOD).is_contiguous());
        assert!(!layout_of(4, GOOD).is_contiguous());
        assert!(!layout_of(4, HOLE).is_contiguous());
        assert!(!layout_of(2, OVERLAP).is_contiguous());
    }

    #[test]
    fn six_byte_integers_round_trip_and_leave_their_neighbours_alone() {
        let mut message = [0xFF; 12];
        message[5..11].copy_from_slice(&u48_bytes(0x0102_0304_0506));
        assert_eq!(u48_at(&message, 5), 0x0102_0304_0506);
        assert_eq!(u48_bytes(MAX_U48), [0xFF; 6]);
    }

    #[test]
    #[should_panic(expected = "48-bit field")]
    fn a_time_that_does_not_fit_is_our_mistake() {
        u48_bytes(MAX_U48 + 1);
    }
}
