//! A moment as calendar fields in UTC.

use chrono::{DateTime, Datelike, Timelike};

/// Calendar fields as floats.
#[derive(Debug)]
pub(crate) struct Date {
    pub(crate) year: f64,
    pub(crate) month: f64,
    pub(crate) day: f64,
    pub(crate) weekday: f64,
    pub(crate) day_of_year: f64,
    pub(crate) days_in_month: f64,
    pub(crate) hour: f64,
    pub(crate) minute: f64,
}

impl Date {
    /// The fields of a time in seconds; none where no calendar reaches.
    pub(crate) fn of(seconds: f64) -> Option<Date> {
        let time = DateTime::from_timestamp(seconds as i64, 0)?;
        Some(Date {
            year: f64::from(time.year()),
            month: f64::from(time.month()),
            day: f64::from(time.day()),
            weekday: f64::from(time.weekday().num_days_from_sunday()),
            day_of_year: f64::from(time.ordinal()),
            days_in_month: f64::from(time.num_days_in_month()),
            hour: f64::from(time.hour()),
            minute: f64::from(time.minute()),
        })
    }
}
