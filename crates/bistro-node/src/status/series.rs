//! Numbers over time. A series that would grow too long is thinned out: it always reaches from the beginning of the program to
//! now, only coarser.

use serde::{Deserialize, Serialize};

/// Points that are kept.
pub const MAX_POINTS: usize = 512;

/// Points in the order of time, and always the newest one. As JSON, a list of points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "Vec<T>",
    into = "Vec<T>",
    bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>")
)]
pub struct Series<T> {
    kept: Vec<T>,
    /// The newest point, if it was not kept.
    newest: Option<T>,
    /// One point of so many is kept.
    every: u64,
    pushed: u64,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), newest: None, every: 1, pushed: 0 }
    }
}

impl<T> Series<T> {
    /// Appends a point.
    pub fn push(&mut self, point: T) {
        if self.kept.len() == MAX_POINTS && self.pushed.is_multiple_of(self.every) {
            // Those at even places are the ones that the doubled stride would have kept.
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.every *= 2;
        }
        if self.pushed.is_multiple_of(self.every) {
            self.kept.push(point);
            self.newest = None;
        } else {
            self.newest = Some(point);
        }
        self.pushed += 1;
    }

    /// The points, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter().chain(&self.newest)
    }

    /// The newest point.
    pub fn last(&self) -> Option<&T> {
        self.newest.as_ref().or(self.kept.last())
    }
}

impl<T> From<Vec<T>> for Series<T> {
    fn from(points: Vec<T>) -> Self {
        let mut series = Self::default();
        for point in points {
            series.push(point);
        }
        series
    }
}

impl<T> From<Series<T>> for Vec<T> {
    fn from(series: Series<T>) -> Self {
        series.kept.into_iter().chain(series.newest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_of_months_reaches_from_its_beginning_to_now_in_bounded_memory() {
        for length in [0, 1, 511, 512, 513, 1024, 1025, 100_000] {
            let mut series = Series::default();
            for i in 0..length {
                series.push(i);
            }
            let points: Vec<u64> = series.clone().into();
            assert!(points.len() <= MAX_POINTS + 1, "{length}: {}", points.len());
            assert_eq!(points.first().copied(), (length > 0).then_some(0));
            assert_eq!(points.last().copied(), length.checked_sub(1));
            assert_eq!(series.last().copied(), length.checked_sub(1));
            // Evenly spread, but for the newest.
            let gaps: Vec<u64> = points.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().rev().skip(1).all(|gap| *gap == gaps[0]), "{length}: {gaps:?}");
        }
    }

    #[test]
    fn as_json_it_is_a_list() {
        let series: Series<u64> = vec![1, 2, 3].into();
        let json = serde_json::to_string(&series).unwrap();
        assert_eq!(json, "[1,2,3]");
        assert_eq!(serde_json::from_str::<Series<u64>>(&json).unwrap(), series);
    }
}
