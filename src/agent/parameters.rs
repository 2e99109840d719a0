//! The parameters of an operation.
#![forbid(unsafe_code)]

use std::fmt;

/// Names and values exactly as the cluster sent them: it computes its digests from their echo, so
/// that one altered byte restarts the resource (executor-api.md section 4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(Box<str>, Box<str>)>);

/// A parameter that cannot be handed to an agent: its name is empty or holds `=` or NUL, or its value
/// holds NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidParameter;

impl Parameters {
    /// How many one operation may have. Each costs a comparison with the others, and a controller sends dozens.
    pub const LIMIT: usize = 4096;

    /// Adds one; of two with the same name the later wins.
    ///
    /// # Errors
    /// [`InvalidParameter`], and nothing has changed.
    pub fn insert(&mut self, name: String, value: String) -> Result<(), InvalidParameter> {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(InvalidParameter);
        }
        let (name, value) = (name.into_boxed_str(), value.into_boxed_str());
        match self.0.binary_search_by(|(present, _)| present.cmp(&name)) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (name, value)),
        }
        Ok(())
    }

    /// The value of `name`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let index = self.0.binary_search_by(|(present, _)| (**present).cmp(name)).ok()?;
        self.0.get(index).map(|(_, value)| &**value)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for InvalidParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter name that is empty or holds '=' or NUL, or a value that holds NUL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_two_wins() {
        let mut all = Parameters::default();
        for (name, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
            all.insert(name.into(), value.into()).unwrap();
        }
        assert_eq!(all.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((all.value("b"), all.value("c")), (Some("3"), None));
    }

    #[test]
    fn what_would_change_the_environment_is_refused() {
        let mut all = Parameters::default();
        for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "x\0y")] {
            assert_eq!(all.insert(name.into(), value.into()), Err(InvalidParameter));
        }
        assert!(all.is_empty());
        assert_eq!(all.insert("a".into(), "b=c".into()), Ok(()));
    }
}
