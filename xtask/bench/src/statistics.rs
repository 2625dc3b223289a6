//! Medians and quantiles of small sets of numbers.

/// The value below which a fraction of the sorted numbers lies.
pub(crate) fn quantile(sorted: &[u64], fraction: f64) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    // Rounding to the nearest rank; sets here are far below 2^52.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
    let rank = (last as f64 * fraction).round() as usize;
    sorted.get(rank.min(last)).copied()
}

/// The median of numbers in any order; `NaN` of none.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().filter(|number| number.is_finite()).collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.len() % 2, numbers.get(middle), middle.checked_sub(1).and_then(|below| numbers.get(below))) {
        (1, Some(number), _) => *number,
        (0, Some(above), Some(below)) => f64::midpoint(*above, *below),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::{median, quantile};

    #[test]
    fn quantiles_are_members_of_the_set() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(quantile(&sorted, 0.0), Some(1));
        assert_eq!(quantile(&sorted, 0.5), Some(51));
        assert_eq!(quantile(&sorted, 1.0), Some(100));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_median_ignores_what_is_no_number() {
        assert!((median([3.0, 1.0, f64::NAN, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
    }
}
