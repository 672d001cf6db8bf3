//! Something that goes wrong for a while, and is told when it begins and when it is over.

/// Whether it goes wrong now.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    lasts: bool,
}

impl Trouble {
    /// Whether it went wrong when it was last tried.
    pub(crate) fn lasts(&self) -> bool {
        self.lasts
    }

    /// It goes wrong; returns whether it did not before.
    pub(crate) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.lasts, true)
    }

    /// It goes well; returns whether it did not before.
    pub(crate) fn ends(&mut self) -> bool {
        std::mem::replace(&mut self.lasts, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let mut trouble = Trouble::default();
        assert!(!trouble.ends());
        assert_eq!([(); 3].map(|()| trouble.begins()), [true, false, false]);
        assert_eq!([(); 3].map(|()| trouble.ends()), [true, false, false]);
        assert!(trouble.begins());
    }
}
