//! Write Fairlead plugins in Rust.
