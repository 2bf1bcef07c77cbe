//! What the four tables are made of.

/// One transition: the next state, and what follows, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<S: 'static, E: 'static>(pub(super) S, pub(super) &'static [E]);

/// Declares an enum of a table, with all its variants for the test that renders the table.
macro_rules! vocabulary {
    (
        $(#[doc = $about:literal])+
        pub(super) enum $name:ident { $($(#[doc = $help:literal])+ $variant:ident,)+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "timers D, I, J, K, L and M run out in the absorber")]
        pub(super) enum $name { $($(#[doc = $help])+ $variant,)+ }

        #[cfg(test)]
        impl $name {
            /// Every variant.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];
        }
    };
}

pub(super) use vocabulary;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::super::{invite_client, invite_server, non_invite_client, non_invite_server};
    use super::Row;

    fn render<S, E, F>(
        states: &'static [S],
        events: &'static [E],
        next: impl Fn(S, E) -> Row<S, F>,
    ) -> String
    where
        S: Copy + Debug + PartialEq + 'static,
        E: Copy + Debug + 'static,
        F: Copy + Debug + 'static,
    {
        let mut text = String::new();
        for &state in states {
            for &event in events {
                let Row(to, effects) = next(state, event);
                let outcome = match (to == state, effects.is_empty()) {
                    (true, true) => "-".to_owned(),
                    (_, true) => format!("{to:?}"),
                    (_, false) => format!("{to:?}  {effects:?}"),
                };
                let line = format!(
                    "{:<12}{:<18}{outcome}",
                    format!("{state:?}"),
                    format!("{event:?}")
                );
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }

    /// Compares a table with snapshots/NAME.snap; after a wanted change, `INSTA_UPDATE=always`
    /// writes it anew.
    fn compare(name: &str, table: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, table));
    }

    #[test]
    fn the_invite_client_table_is_the_one_that_was_reviewed() {
        use invite_client::{Event, State, next};
        compare("invite_client", &render(State::ALL, Event::ALL, next));
    }

    #[test]
    fn the_non_invite_client_table_is_the_one_that_was_reviewed() {
        use non_invite_client::{Event, State, next};
        compare("non_invite_client", &render(State::ALL, Event::ALL, next));
    }

    #[test]
    fn the_invite_server_table_is_the_one_that_was_reviewed() {
        use invite_server::{Event, State, next};
        compare("invite_server", &render(State::ALL, Event::ALL, next));
    }

    #[test]
    fn the_non_invite_server_table_is_the_one_that_was_reviewed() {
        use non_invite_server::{Event, State, next};
        compare("non_invite_server", &render(State::ALL, Event::ALL, next));
    }

    /// The effects that no row of a table has.
    fn unused<S: Copy, E: Copy, F: Copy + PartialEq>(
        states: &'static [S],
        events: &'static [E],
        effects: &'static [F],
        next: impl Fn(S, E) -> Row<S, F>,
    ) -> Vec<F> {
        let rows = states
            .iter()
            .flat_map(|state| events.iter().map(|event| next(*state, *event)));
        let used: Vec<F> = rows.flat_map(|Row(_, effects)| effects.to_vec()).collect();
        let unused = effects.iter().filter(|effect| !used.contains(effect));
        unused.copied().collect()
    }

    #[test]
    fn every_effect_follows_from_something() {
        macro_rules! check {
            ($machine:ident) => {
                use $machine::{Effect, Event, State, next};
                assert_eq!(unused(State::ALL, Event::ALL, Effect::ALL, next), []);
            };
        }
        {
            check!(invite_client);
        }
        {
            check!(non_invite_client);
        }
        {
            check!(invite_server);
        }
        {
            check!(non_invite_server);
        }
    }

    #[test]
    fn nothing_leaves_terminated() {
        for &event in invite_client::Event::ALL {
            let state = invite_client::State::Terminated;
            assert_eq!(invite_client::next(state, event), Row(state, &[]));
        }
        for &event in non_invite_client::Event::ALL {
            let state = non_invite_client::State::Terminated;
            assert_eq!(non_invite_client::next(state, event), Row(state, &[]));
        }
        for &event in invite_server::Event::ALL {
            let state = invite_server::State::Terminated;
            assert_eq!(invite_server::next(state, event), Row(state, &[]));
        }
        for &event in non_invite_server::Event::ALL {
            let state = non_invite_server::State::Terminated;
            assert_eq!(non_invite_server::next(state, event), Row(state, &[]));
        }
    }
}
