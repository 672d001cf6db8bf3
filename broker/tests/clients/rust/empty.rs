//! Nothing: the package is only its tests.
