//! `;name=value` parameters.

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// The value, without surrounding quotes; `None` when there is no `=`.
    pub value: Option<&'a [u8]>,
}

/// Iterates over parameters; starts at a `;` or at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameter named `name` in any case: `None` when absent, `Some(None)` when valueless.
    pub fn find(self, name: &str) -> Option<Option<&'a [u8]>> {
        unimplemented!("{name}")
    }
    /// The value of the parameter named `name` in any case.
    pub fn value(self, name: &str) -> Option<&'a [u8]> {
        self.find(name).flatten()
    }
    /// The text the parameters were read from, from the first `;`.
    pub fn as_bytes(self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;
    fn next(&mut self) -> Option<Param<'a>> {
        unimplemented!()
    }
}
