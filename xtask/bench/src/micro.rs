//! What one plugin costs without a network around it.

use serde::Serialize;

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) figures: Vec<Figure>,
}

/// One figure, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) median_us: f64,
    pub(crate) p10_us: f64,
    pub(crate) p99_us: f64,
    /// What was promised, where something was.
    pub(crate) aim_us: Option<f64>,
}

/// Measures.
pub(crate) async fn run(_quick: bool) -> anyhow::Result<Figures> {
    Ok(Figures { figures: Vec::new() })
}
