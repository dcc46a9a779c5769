//! Memory that is there before it is needed: the first touch of a page costs as much as half an order, and falls on whoever
//! comes to it first.

use std::hint::black_box;
use std::mem::MaybeUninit;

/// Touches all pages of what is reserved and not yet in use.
pub(crate) fn present<T>(spare: &mut [MaybeUninit<T>]) {
    // Else the compiler asks for zeroed memory instead, which is there only when it is touched.
    for place in black_box(spare) {
        *place = MaybeUninit::zeroed();
    }
}
