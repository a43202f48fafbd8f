//! How OTLP metrics become Prometheus series: strategy and switches.

/// Escaping and suffixes of names (Prometheus' `otlp.translation_strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    #[default]
    UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

impl Strategy {
    /// Whether names keep all of UTF-8.
    pub(crate) fn keeps_utf8(self) -> bool {
        matches!(self, Strategy::NoUtf8EscapingWithSuffixes | Strategy::NoTranslation)
    }

    /// Whether units and types are appended to names.
    pub(crate) fn has_suffixes(self) -> bool {
        matches!(
            self,
            Strategy::UnderscoreEscapingWithSuffixes | Strategy::NoUtf8EscapingWithSuffixes
        )
    }
}

/// What becomes of points with delta temporality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeltaMode {
    /// They are added up into counters that only grow (see `delta`).
    #[default]
    Accumulate,
    /// They are stored as they are, with the metric type unknown (Prometheus' experiment).
    Keep,
    /// They are refused.
    Reject,
}

/// Which resource attributes become labels of every series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Promote {
    /// Those with these keys, in this order.
    Listed(Vec<String>),
    /// All except those with these keys.
    AllExcept(Vec<String>),
}

impl Default for Promote {
    fn default() -> Self {
        Promote::Listed(Vec::new())
    }
}

/// The settings of the translation. The defaults are those of Prometheus' configuration file, but
/// for deltas, which Prometheus refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslationOptions {
    pub strategy: Strategy,
    pub delta: DeltaMode,
    pub promote: Promote,
    /// `service.name` and its like stay in `target_info` as well.
    pub keep_identifying_attributes: bool,
    pub target_info: bool,
    /// `otel_scope_name`, `otel_scope_version`, `otel_scope_schema_url`, `otel_scope_<attribute>`.
    pub scope_labels: bool,
    /// `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Explicit histograms become native ones with custom buckets.
    pub histograms_to_nhcb: bool,
    /// `_x` becomes `key_x`.
    pub label_underscore_prefix: bool,
    /// `a..b` becomes `a__b` and not `a_b`.
    pub keep_multiple_underscores: bool,
}

impl Default for TranslationOptions {
    fn default() -> Self {
        TranslationOptions {
            strategy: Strategy::default(),
            delta: DeltaMode::default(),
            promote: Promote::default(),
            keep_identifying_attributes: false,
            target_info: true,
            scope_labels: false,
            type_and_unit_labels: false,
            histograms_to_nhcb: false,
            label_underscore_prefix: true,
            keep_multiple_underscores: true,
        }
    }
}
