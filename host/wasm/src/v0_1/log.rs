//! `fairlead:host/log`.

use super::bindings::{Attributes, Level, log};
use crate::records::{self, Record};
use crate::state::View;

impl log::Host for View<'_> {
    fn enabled(&mut self, level: Level) -> bool {
        records::wanted(self.owner, level)
    }

    fn write(&mut self, level: Level, message: String, fields: Attributes) {
        let record = Record { level, message: &message, fields: &fields };
        records::write(self.owner, self.exchange.call().ok(), &record);
    }
}
