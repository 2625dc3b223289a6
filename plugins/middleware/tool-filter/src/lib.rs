//! tool-filter
