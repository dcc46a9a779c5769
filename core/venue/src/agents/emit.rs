//! Writes ITCH 5.0 messages as length-prefixed frames: the one place of the simulators that knows the feed.
//!
//! Prices are as on the wire, in units of 0.0001 currency units; sizes are in shares.

use helios_types::{BookRef, Side};
use helios_wire::{frame, itch};

/// A symbol as the feed writes it: eight characters, padded with spaces.
pub(crate) type Stock = [u8; 8];
/// A market participant as the feed writes it.
pub(crate) type Mpid = [u8; 4];

/// A cent in the feed's price units.
pub(crate) const CENT: u32 = 100;
/// Nanoseconds from midnight to a time of day.
pub(crate) const fn time_of_day(hours: u64, minutes: u64, seconds: u64) -> u64 {
    ((hours * 60 + minutes) * 60 + seconds) * helios_types::NANOS_PER_SECOND
}

/// An order as the feed shows it.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) order: BookRef,
    pub(crate) side: Side,
    pub(crate) shares: u32,
    pub(crate) price: u32,
}

/// What is known before an opening or closing cross.
#[derive(Clone, Copy)]
pub(crate) struct Imbalance {
    pub(crate) paired: u32,
    pub(crate) unpaired: u32,
    pub(crate) side: Side,
    /// Where it would clear; 0 when nothing is known.
    pub(crate) price: u32,
    /// `O` or `C`.
    pub(crate) cross: u8,
}

/// The feed of one day: time, numbers, and the frames that were asked for.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Stamp of the next message, nanoseconds since midnight.
    clock: u64,
    next_order: BookRef,
    next_match: u64,
    /// Messages written so far.
    pub(crate) messages: u64,
    /// What messages are stamped with instead of the clock, where the market is lived through at another pace.
    pub(crate) stamp: Option<u64>,
}

impl Feed {
    pub(crate) fn new(clock: u64) -> Self {
        Self { clock, next_order: 1, next_match: 1, messages: 0, stamp: None }
    }

    /// Stamp of the latest message.
    pub(crate) fn now(&self) -> u64 {
        self.clock
    }

    /// Time moves to `ts`, never back.
    pub(crate) fn at(&mut self, ts: u64) {
        self.clock = self.clock.max(ts);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ns: u64) {
        self.clock += ns;
    }

    /// A number for a new order, unique within the day.
    pub(crate) fn order_number(&mut self) -> BookRef {
        self.next_order += 1;
        self.next_order - 1
    }

    #[inline]
    fn stamp(&self) -> u64 {
        self.stamp.unwrap_or(self.clock)
    }

    /// The number that the next trade will have.
    pub(crate) fn next_match(&self) -> u64 {
        self.next_match
    }

    fn match_number(&mut self) -> u64 {
        self.next_match += 1;
        self.next_match - 1
    }

    #[inline]
    fn write<const N: usize>(&mut self, message: [u8; N], out: &mut Vec<u8>) {
        frame::append(&message, out);
        self.messages += 1;
    }

    pub(crate) fn system_event(&mut self, event_code: u8, out: &mut Vec<u8>) {
        let message =
            itch::SystemEvent { stock_locate: 0, tracking_number: 0, timestamp: self.stamp(), event_code }.encode();
        self.write(message, out);
    }

    /// Directory entry of one stock.
    pub(crate) fn stock_directory(&mut self, locate: u16, stock: Stock, out: &mut Vec<u8>) {
        let directory = itch::StockDirectory {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            stock,
            market_category: b'Q',
            financial_status_indicator: b'N',
            round_lot_size: 100,
            round_lots_only: b'N',
            issue_classification: b'C',
            issue_sub_type: *b"Z ",
            authenticity: b'P',
            short_sale_threshold_indicator: b'N',
            ipo_flag: b'N',
            luld_reference_price_tier: b'1',
            etp_flag: b'N',
            etp_leverage_factor: 0,
            inverse_indicator: b'N',
        };
        self.write(directory.encode(), out);
    }

    /// Directory entry, trading state, short sale state: what every stock's day begins with.
    pub(crate) fn directory(&mut self, locate: u16, stock: Stock, out: &mut Vec<u8>) {
        self.stock_directory(locate, stock, out);
        self.trading_action(locate, stock, b'T', out);
        let short_sale = itch::RegShoRestriction {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            stock,
            reg_sho_action: b'0',
        };
        self.write(short_sale.encode(), out);
    }

    /// Trading state of one stock: `T` trading, `H` halted.
    pub(crate) fn trading_action(&mut self, locate: u16, stock: Stock, trading_state: u8, out: &mut Vec<u8>) {
        let message = itch::StockTradingAction {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            stock,
            trading_state,
            reserved: b' ',
            reason_code: *b"    ",
        };
        self.write(message.encode(), out);
    }

    pub(crate) fn market_maker(&mut self, locate: u16, stock: Stock, mpid: Mpid, out: &mut Vec<u8>) {
        let message = itch::MarketParticipantPosition {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            mpid,
            stock,
            primary_market_maker: b'Y',
            market_maker_mode: b'N',
            market_participant_state: b'A',
        };
        self.write(message.encode(), out);
    }

    #[inline]
    pub(crate) fn add(&mut self, locate: u16, stock: Stock, shown: Shown, mpid: Option<Mpid>, out: &mut Vec<u8>) {
        let Shown { order: order_reference_number, side, shares, price } = shown;
        let (stock_locate, tracking_number, timestamp) = (locate, 0, self.stamp());
        let buy_sell_indicator = side_letter(side);
        if let Some(attribution) = mpid {
            let message = itch::AddOrderMpid {
                stock_locate,
                tracking_number,
                timestamp,
                order_reference_number,
                buy_sell_indicator,
                shares,
                stock,
                price,
                attribution,
            };
            return self.write(message.encode(), out);
        }
        let message = itch::AddOrder {
            stock_locate,
            tracking_number,
            timestamp,
            order_reference_number,
            buy_sell_indicator,
            shares,
            stock,
            price,
        };
        self.write(message.encode(), out);
    }

    pub(crate) fn executed(&mut self, locate: u16, order: BookRef, shares: u32, out: &mut Vec<u8>) {
        let message = itch::OrderExecuted {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            order_reference_number: order,
            executed_shares: shares,
            match_number: self.match_number(),
        };
        self.write(message.encode(), out);
    }

    pub(crate) fn executed_at(
        &mut self,
        locate: u16,
        order: BookRef,
        shares: u32,
        (price, printable): (u32, bool),
        out: &mut Vec<u8>,
    ) {
        let message = itch::OrderExecutedWithPrice {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            order_reference_number: order,
            executed_shares: shares,
            match_number: self.match_number(),
            printable: if printable { b'Y' } else { b'N' },
            execution_price: price,
        };
        self.write(message.encode(), out);
    }

    pub(crate) fn reduced(&mut self, locate: u16, order: BookRef, shares: u32, out: &mut Vec<u8>) {
        let message = itch::OrderCancel {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            order_reference_number: order,
            canceled_shares: shares,
        };
        self.write(message.encode(), out);
    }

    #[inline]
    pub(crate) fn deleted(&mut self, locate: u16, order: BookRef, out: &mut Vec<u8>) {
        let message = itch::OrderDelete {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            order_reference_number: order,
        };
        self.write(message.encode(), out);
    }

    /// `new.side` is not on the wire: a replacement keeps its side.
    pub(crate) fn replaced(&mut self, locate: u16, order: BookRef, new: Shown, out: &mut Vec<u8>) {
        let message = itch::OrderReplace {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            original_order_reference_number: order,
            new_order_reference_number: new.order,
            shares: new.shares,
            price: new.price,
        };
        self.write(message.encode(), out);
    }

    /// A trade against a hidden order. Number and side are fixed on the feed since 2010 and 2014.
    pub(crate) fn hidden_trade(&mut self, locate: u16, stock: Stock, shares: u32, price: u32, out: &mut Vec<u8>) {
        let message = itch::TradeNonCross {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            order_reference_number: 0,
            buy_sell_indicator: b'B',
            shares,
            stock,
            price,
            match_number: self.match_number(),
        };
        self.write(message.encode(), out);
    }

    /// `cross` is `O` or `C`.
    pub(crate) fn cross_trade(
        &mut self,
        locate: u16,
        stock: Stock,
        shares: u64,
        (price, cross): (u32, u8),
        out: &mut Vec<u8>,
    ) {
        let message = itch::CrossTrade {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            cross_shares: shares,
            stock,
            cross_price: price,
            match_number: self.match_number(),
            cross_type: cross,
        };
        self.write(message.encode(), out);
    }

    pub(crate) fn imbalance(&mut self, locate: u16, stock: Stock, imbalance: Imbalance, out: &mut Vec<u8>) {
        let Imbalance { paired, unpaired, side, price, cross } = imbalance;
        let direction = match (price, unpaired) {
            (0, _) => b'O',
            (_, 0) => b'N',
            _ => side_letter(side),
        };
        let message = itch::NetOrderImbalanceIndicator {
            stock_locate: locate,
            tracking_number: 0,
            timestamp: self.stamp(),
            paired_shares: u64::from(paired),
            imbalance_shares: u64::from(unpaired),
            imbalance_direction: direction,
            stock,
            far_price: price,
            near_price: price,
            current_reference_price: price,
            cross_type: cross,
            price_variation_indicator: if price == 0 { b' ' } else { b'L' },
        };
        self.write(message.encode(), out);
    }
}

fn side_letter(side: Side) -> u8 {
    match side {
        Side::Buy => b'B',
        Side::Sell => b'S',
    }
}
