//! The tenants in force: read from files, merged, compiled, compared.
//!
//! A provisioning file is the truth about the accounts and operator's trunks that it names, whole;
//! others stay as they are. Passwords are hashed as soon as a file was read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::changes;
use super::view::{Applied, Numbers};
use crate::config::Config;
use crate::tenant::model::{Account, CredentialList, Provision, Secret, Trunk};
use crate::tenant::{Bounds, Compiler, Tables, check as check_rules, provision};

/// Errors as lines for the operator.
type Errors = Vec<String>;

/// What is provisioned now.
#[derive(Clone, Debug)]
pub(super) struct Tenants {
    provision: Arc<Provision>,
    /// Numbers given to objects outlive every change, so the compiler is the same for all.
    compiler: Arc<Mutex<Compiler>>,
    generation: u64,
    /// Accounts and trunks that the file of [bootstrap] named last.
    bootstrapped: Arc<Named>,
}

/// Names of accounts and operator's trunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    accounts: Vec<String>,
    trunks: Vec<String>,
}

impl Named {
    fn by(provision: &Provision) -> Self {
        Self {
            accounts: provision
                .accounts
                .iter()
                .map(|account| account.name.to_string())
                .collect(),
            trunks: provision
                .trunks
                .iter()
                .map(|trunk| trunk.name.to_string())
                .collect(),
        }
    }
}

/// Where a provisioning file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `apply`: what it does not name stays.
    Apply,
    /// `[bootstrap] tenants`: what it named last time and names no more is removed.
    Bootstrap,
}

impl Tenants {
    /// No tenants, and the tables that say so.
    pub(super) fn new(config: &Config) -> Result<(Self, Arc<Tables>), Errors> {
        let provision = Provision::default();
        let mut compiler = Compiler::new(&config.auth.realm);
        let tables = compiler
            .compile(&provision)
            .map_err(|error| vec![error.to_string()])?;
        let tenants = Self {
            provision: Arc::new(provision),
            compiler: Arc::new(Mutex::new(compiler)),
            generation: tables.generation,
            bootstrapped: Arc::default(),
        };
        Ok((tenants, Arc::new(tables)))
    }

    /// Brings the tenants to what `named` says. The tables are `None` when nothing changed.
    pub(super) fn apply(
        &mut self,
        mut named: Provision,
        origin: Origin,
        config: &Config,
    ) -> Result<(Applied, Option<Arc<Tables>>), Errors> {
        named.hash_passwords(&config.auth.realm);
        check_listeners(&named, config)?;
        let names = Named::by(&named);
        let mut next = Provision::clone(&self.provision);
        if origin == Origin::Bootstrap {
            let gone = &self.bootstrapped;
            next.accounts
                .retain(|account| !gone.accounts.iter().any(|n| n == account.name.as_str()));
            next.trunks
                .retain(|trunk| !gone.trunks.iter().any(|n| n == trunk.name.as_str()));
        }
        replace(&mut next.accounts, named.accounts, |account: &Account| {
            account.name.as_str()
        });
        replace(&mut next.trunks, named.trunks, |trunk: &Trunk| {
            trunk.name.as_str()
        });
        let violations = check_rules(&next, &Bounds::OPERATOR);
        if !violations.is_empty() {
            // Each file was right by itself: what is left are conflicts with what is there.
            let shown = |violation: &crate::tenant::Violation| {
                format!(
                    "together with the tenants in force: {}",
                    changes::shown(&next, violation)
                )
            };
            return Err(violations.iter().map(shown).collect());
        }
        let mut applied = changes::between(&self.provision, &next);
        if origin == Origin::Bootstrap {
            self.bootstrapped = Arc::new(names);
        }
        applied.generation = self.generation;
        if applied.is_empty() {
            return Ok((applied, None));
        }
        let mut compiler = self.compiler.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = compiler
            .compile(&next)
            .map_err(|error| vec![error.to_string()])?;
        drop(compiler);
        self.generation = tables.generation;
        self.provision = Arc::new(next);
        applied.generation = tables.generation;
        Ok((applied, Some(Arc::new(tables))))
    }

    /// How many objects there are, by kind.
    pub(super) fn counts(&self) -> Numbers {
        counts(&self.provision)
    }

    /// Some users with a domain that they may register in, for a person to try.
    pub(super) fn sample_users(&self, count: usize) -> Vec<(String, String)> {
        let mut samples = Vec::new();
        for account in &self.provision.accounts {
            for domain in &account.domains {
                let Some(registrations) = &domain.registrations else {
                    continue;
                };
                let mapped =
                    |list: &&CredentialList| registrations.credential_lists.contains(&list.name);
                let users = account
                    .credential_lists
                    .iter()
                    .filter(mapped)
                    .flat_map(|list| &list.users);
                samples.extend(
                    users
                        .take(count)
                        .map(|user| (user.username.to_string(), domain.name.to_string())),
                );
            }
        }
        samples.truncate(count);
        samples
    }
}

/// Puts `new` in the place of those with the same name, or at the end.
fn replace<T>(objects: &mut Vec<T>, new: Vec<T>, name: impl Fn(&T) -> &str) {
    let places: BTreeMap<String, usize> = objects
        .iter()
        .enumerate()
        .map(|(at, object)| (name(object).to_owned(), at))
        .collect();
    for object in new {
        match places.get(name(&object)) {
            Some(&at) => objects[at] = object,
            None => objects.push(object),
        }
    }
}

fn counts(provision: &Provision) -> Numbers {
    let accounts = &provision.accounts;
    let sum = |of: fn(&Account) -> usize| accounts.iter().map(of).sum::<usize>();
    let users = |account: &Account| {
        account
            .credential_lists
            .iter()
            .map(|list| list.users.len())
            .sum::<usize>()
    };
    [
        ("accounts", accounts.len()),
        (
            "credential_lists",
            sum(|account| account.credential_lists.len()),
        ),
        ("credentials", sum(users)),
        ("domains", sum(|account| account.domains.len())),
        ("ip_acls", sum(|account| account.ip_acls.len())),
        ("routes", sum(|account| account.routes.len())),
        (
            "trunks",
            provision.trunks.len() + sum(|account| account.trunks.len()),
        ),
    ]
    .into_iter()
    .map(|(kind, count)| (kind.to_owned(), count as u64))
    .collect()
}

/// A trunk's listener is one of the configuration.
fn check_listeners(provision: &Provision, config: &Config) -> Result<(), Errors> {
    let known: Vec<&str> = config
        .listen
        .udp
        .iter()
        .filter_map(|listener| listener.name.as_deref())
        .collect();
    let trunks = provision.trunks.iter().chain(
        provision
            .accounts
            .iter()
            .flat_map(|account| &account.trunks),
    );
    let listed = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let errors: Errors = trunks
        .filter_map(|trunk| {
            trunk
                .listener
                .as_ref()
                .map(|listener| (&trunk.name, listener))
        })
        .filter(|(_, listener)| !known.contains(&listener.as_str()))
        .map(|(trunk, listener)| {
            format!("trunk {trunk}: no [listen] udp is named {listener:?} (named are: {listed})")
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// The provisioning file at `path`; the empty path is no file and no tenants.
pub(super) fn read(path: &Path) -> Result<Provision, Errors> {
    if path == Path::new("") {
        return Ok(Provision::default());
    }
    provision::read(path).map_err(|error| lines(&error))
}

fn lines(error: &provision::ProvisionError) -> Errors {
    error.to_string().lines().map(str::to_owned).collect()
}

/// What a configuration's tenants are, by kind; or everything that is wrong with them.
pub(super) fn check(config: &Config) -> Result<Numbers, Errors> {
    let provision = read(&config.bootstrap.tenants)?;
    check_listeners(&provision, config)?;
    Ok(counts(&provision))
}

/// The body of `POST /v1/apply`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyBody {
    /// Names the file in errors.
    file: String,
    /// A provisioning file that names no other file.
    text: String,
}

impl ApplyBody {
    /// The provisioning file at `path`, with the credentials of its users files within.
    pub(super) fn read(path: &Path) -> Result<Self, Errors> {
        let model = provision::read(path).map_err(|error| lines(&error))?;
        let unreadable =
            |error: &dyn std::fmt::Display| vec![format!("{}: {error}", path.display())];
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        let mut document: toml::Table = text.parse().map_err(|error| unreadable(&error))?;
        inline_users(&mut document, &model);
        let text = toml::to_string(&document).map_err(|error| unreadable(&error))?;
        Ok(Self {
            file: path.display().to_string(),
            text,
        })
    }

    /// The model.
    pub(super) fn into_provision(self) -> Result<Provision, Errors> {
        let names_a_file = |table: &toml::Table| {
            lists(table)
                .iter()
                .any(|list| list.contains_key("users_file"))
        };
        if self
            .text
            .parse::<toml::Table>()
            .is_ok_and(|table| names_a_file(&table))
        {
            return Err(vec![
                "users_file: send the credentials, not the name of a file".to_owned(),
            ]);
        }
        provision::parse(&self.text, Path::new(&self.file)).map_err(|error| lines(&error))
    }
}

fn tables<'a>(owner: &'a toml::Table, key: &str) -> impl Iterator<Item = &'a toml::Table> {
    owner
        .get(key)
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_table())
}

fn lists(document: &toml::Table) -> Vec<&toml::Table> {
    tables(document, "account")
        .flat_map(|account| tables(account, "credential_list"))
        .collect()
}

/// Replaces every `users_file` by the credentials that were read from it.
fn inline_users(document: &mut toml::Table, model: &Provision) {
    fn tables_mut<'a>(
        owner: &'a mut toml::Table,
        key: &str,
    ) -> impl Iterator<Item = &'a mut toml::Table> {
        let values = owner
            .get_mut(key)
            .and_then(toml::Value::as_array_mut)
            .into_iter()
            .flatten();
        values.filter_map(toml::Value::as_table_mut)
    }
    for (account, read) in tables_mut(document, "account").zip(&model.accounts) {
        for (list, read) in tables_mut(account, "credential_list").zip(&read.credential_lists) {
            if list.remove("users_file").is_none() {
                continue;
            }
            let user = |user: &crate::tenant::model::User| {
                let Secret::Password(password) = &user.secret else {
                    return None;
                };
                let mut table = toml::Table::new();
                table.insert("username".to_owned(), user.username.to_string().into());
                table.insert("password".to_owned(), password.to_string().into());
                Some(toml::Value::Table(table))
            };
            let users = read.users.iter().filter_map(user).collect();
            list.insert("users".to_owned(), toml::Value::Array(users));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;
    use crate::control::scratch::Scratch;

    const DEMO: &str = r#"
[[trunk]]
name = "carrier"
targets = [{ uri = "sip:127.0.0.1:5090" }]
[[account]]
name = "demo"
[[account.credential_list]]
name = "phones"
users = [{ username = "alice", password = "Wonderland-2026" }]
[[account.domain]]
name = "example.test"
registrations = { credential_lists = ["phones"] }
"#;

    fn parse(text: &str) -> Provision {
        provision::parse(text, Path::new("tenants.toml")).unwrap()
    }

    fn demo() -> (Tenants, Config) {
        let config = Config::default();
        let (mut tenants, _) = Tenants::new(&config).unwrap();
        let (applied, tables) = tenants
            .apply(parse(DEMO), Origin::Bootstrap, &config)
            .unwrap();
        assert_eq!(applied.added.len(), 4, "{applied:?}");
        assert!(tables.unwrap().domain_by_name(b"example.test").is_some());
        (tenants, config)
    }

    #[test]
    fn applying_the_same_file_again_changes_nothing() {
        let (mut tenants, config) = demo();
        let (applied, tables) = tenants.apply(parse(DEMO), Origin::Apply, &config).unwrap();
        assert!(applied.is_empty() && tables.is_none(), "{applied:?}");
    }

    #[test]
    fn what_changed_is_named_and_what_the_file_does_not_name_stays() {
        let (mut tenants, config) = demo();
        let text = DEMO.replace("Wonderland-2026", "Looking-Glass-2026");
        let text = &text[text.find("[[account]]").unwrap()..];
        let text = text.replace("example.test", "example.com");
        let (applied, tables) = tenants.apply(parse(&text), Origin::Apply, &config).unwrap();
        assert_eq!(applied.added, ["domain example.com"]);
        assert_eq!(applied.removed, ["domain example.test"]);
        assert_eq!(
            applied.changed,
            ["credential list demo/phones (0 users added, 1 changed, 0 removed)"]
        );
        let tables = tables.unwrap();
        assert_eq!(tables.generation, applied.generation);
        assert!(tables.domain_by_name(b"example.test").is_none());
        assert_eq!(tenants.counts()["trunks"], 1);
    }

    #[test]
    fn a_reload_removes_what_the_bootstrap_file_names_no_more_but_not_what_was_applied() {
        let (mut tenants, config) = demo();
        let other = "[[account]]\nname = \"other\"\n";
        tenants.apply(parse(other), Origin::Apply, &config).unwrap();
        let (applied, _) = tenants
            .apply(Provision::default(), Origin::Bootstrap, &config)
            .unwrap();
        assert_eq!(applied.removed.len(), 4, "{applied:?}");
        assert_eq!(tenants.counts()["accounts"], 1);
    }

    #[test]
    fn a_conflict_with_the_tenants_in_force_is_refused_and_changes_nothing() {
        let (mut tenants, config) = demo();
        let before = tenants.counts();
        let thief = "[[account]]\nname = \"thief\"\n[[account.domain]]\nname = \"example.test\"\n";
        let errors = tenants
            .apply(parse(thief), Origin::Apply, &config)
            .unwrap_err();
        assert!(
            errors.iter().any(|error| error.contains("in force")),
            "{errors:?}"
        );
        assert_eq!(tenants.counts(), before);
    }

    #[test]
    fn no_password_stays_in_memory() {
        let (tenants, _) = demo();
        let lists = tenants
            .provision
            .accounts
            .iter()
            .flat_map(|a| &a.credential_lists);
        let mut users = lists.flat_map(|list| &list.users);
        assert!(users.all(|user| matches!(user.secret, Secret::Hashed(_))));
    }

    #[test]
    fn a_trunk_s_listener_must_be_named_in_the_configuration() {
        let text = DEMO.replace("targets", "listener = \"inside\"\ntargets");
        let mut config = Config::default();
        let (mut tenants, _) = Tenants::new(&config).unwrap();
        let errors = tenants
            .apply(parse(&text), Origin::Apply, &config)
            .unwrap_err();
        assert!(errors[0].contains("\"inside\""), "{errors:?}");
        config.listen.udp[0].name = Some("inside".to_owned());
        tenants.apply(parse(&text), Origin::Apply, &config).unwrap();
    }

    #[test]
    fn a_users_file_travels_within_what_is_applied() {
        let scratch = Scratch::new("tenants-users-file");
        let file = scratch.path().join("tenants.toml");
        let users = "bob,Builder-2026-Demo\ncarol,Christmas-2026\n";
        std::fs::write(scratch.path().join("users.csv"), users).unwrap();
        let text = DEMO.replace("users =", "users_file = \"users.csv\"\nusers =");
        std::fs::write(&file, text).unwrap();
        let body = ApplyBody::read(&file).unwrap();
        let direct = provision::read(&file).unwrap();
        std::fs::remove_file(scratch.path().join("users.csv")).unwrap();
        let travelled = body.into_provision().unwrap();
        assert_eq!(travelled.accounts[0].credential_lists[0].users.len(), 3);
        assert_eq!(travelled, direct);
    }

    #[test]
    fn a_body_that_names_a_file_of_the_edge_s_machine_is_refused() {
        let text = DEMO.replace("users =", "users_file = \"/etc/passwd\"\nusers =");
        let body = ApplyBody {
            file: "x".to_owned(),
            text,
        };
        let errors = body.into_provision().unwrap_err();
        assert!(errors[0].contains("users_file"), "{errors:?}");
    }
}
