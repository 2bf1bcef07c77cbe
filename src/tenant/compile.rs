//! From the model to the tables that shards read.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::credentials::CredentialTable;
use super::directory::{Directory, TrunkPlace};
use super::index::{Index, Keyed};
use super::model::{self, Algorithm, FromUser, Provision};
use super::routes::{Match, RouteTable, RouteTableBuilder, Scope};
use super::tables::{ABSENT, TrunkSource};
use super::text::{Name, Number};
use super::{
    AccountId, CredentialListId, Destination, Domain, DomainId, Route, Sid, Tables, Target, Trunk,
    TrunkId,
};
use crate::acl::{self, AclId};
use crate::wire::DigestAlgorithm;

/// Why a model can not be compiled. A model that `check` accepted always can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A name that nothing has.
    #[error("the {kind} \"{name}\" is used by account \"{account}\" but does not exist there")]
    Unknown {
        /// What should have the name.
        kind: &'static str,
        /// The name.
        name: Box<str>,
        /// Who uses it.
        account: Box<str>,
    },
    /// Two trunks whose names give the same number.
    #[error("the trunk \"{0}\" has the same number as another by chance; choose another name")]
    TrunkNumber(Box<str>),
    /// A route without origin, number or destination, or with a number out of bounds.
    #[error("a route of account \"{0}\" is not whole")]
    Route(Box<str>),
}

/// Compiles one model after the other; whatever keeps its SID keeps its number.
#[derive(Debug)]
pub struct Compiler {
    realm: Box<str>,
    numbers: Numbers,
    generation: u64,
    /// What the generation before has for registrations: whatever stays keeps its age.
    before: Before,
}

/// Of one generation: its credential lists, by number, and since when lists have been mapped for
/// registrations.
#[derive(Debug, Default)]
struct Before {
    credential_lists: Box<[Option<Arc<CredentialTable>>]>,
    mapped_since: MappedSince,
}

/// By domain, its name, and list.
type MappedSince = HashMap<(DomainId, Box<str>, CredentialListId), u32>;

/// Numbers given to SIDs, in order of appearance and never to another: as many as there were SIDs
/// while the process ran.
#[derive(Debug, Default)]
struct Numbers {
    accounts: HashMap<Sid, u32>,
    domains: HashMap<Sid, u32>,
    credential_lists: HashMap<Sid, u32>,
    ip_acls: HashMap<Sid, u32>,
}

fn number(numbers: &mut HashMap<Sid, u32>, sid: Sid) -> u32 {
    let next = u32::try_from(numbers.len()).expect("SIDs of one process are fewer than 2^32");
    *numbers.entry(sid).or_insert(next)
}

/// Compiles one model on its own.
///
/// # Errors
/// What `check` would have found.
pub fn compile(model: &Provision, realm: &str) -> Result<Tables, CompileError> {
    Compiler::new(realm).compile(model)
}

impl Compiler {
    /// A compiler for the deployment's digest realm.
    #[must_use]
    pub fn new(realm: &str) -> Self {
        Self {
            realm: realm.into(),
            numbers: Numbers::default(),
            generation: 0,
            before: Before::default(),
        }
    }

    /// The next generation of the tables. Passwords are hashed; none is in the tables.
    ///
    /// # Errors
    /// What `check` would have found.
    pub fn compile(&mut self, model: &Provision) -> Result<Tables, CompileError> {
        self.generation += 1;
        let generation =
            u32::try_from(self.generation).expect("one process publishes fewer than 2^32 tables");
        let mut work = Work::new(
            model,
            &self.realm,
            &mut self.numbers,
            generation,
            &self.before,
        );
        work.number_accounts();
        work.compile_lists();
        let domains = work.compile_domains()?;
        let trunks = work.compile_trunks()?;
        let routes = work.compile_routes()?;
        let credential_lists: Box<[_]> = work.credential_lists.into();
        let (source_prefixes, sources) = compile_sources(&trunks);
        let domain_hash = Keyed::default();
        let hashes = domains
            .iter()
            .map(|domain| domain_hash.hash(0, domain.name.as_bytes()));
        let domain_names = Index::build(hashes);
        let mut domain_places = vec![ABSENT; work.numbers.domains.len()].into_boxed_slice();
        for (place, domain) in domains.iter().enumerate() {
            domain_places[domain.id.0 as usize] = place as u32;
        }
        let acl = acl::Table::build(&work.acl_entries);
        // A model that can not be compiled leaves what was before.
        self.before = Before {
            credential_lists: credential_lists.clone(),
            mapped_since: mapped_since(&domains),
        };
        Ok(Tables {
            generation: self.generation,
            domains,
            domain_places,
            domain_hash,
            domain_names,
            trunks,
            credential_lists,
            acl,
            source_prefixes,
            sources,
            routes,
        })
    }
}

/// One compilation.
struct Work<'a> {
    model: &'a Provision,
    directory: Directory<'a>,
    realm: &'a str,
    numbers: &'a mut Numbers,
    generation: u32,
    before: &'a Before,
    /// By place of the account in the model.
    accounts: Vec<AccountNumbers>,
    credential_lists: Vec<Option<Arc<CredentialTable>>>,
    acl_entries: Vec<(IpNet, AclId)>,
}

/// The numbers of one account and of what it owns, by place in the model.
struct AccountNumbers {
    id: AccountId,
    credential_lists: Vec<CredentialListId>,
    ip_acls: Vec<AclId>,
    domains: Vec<DomainId>,
}

impl<'a> Work<'a> {
    fn new(
        model: &'a Provision,
        realm: &'a str,
        numbers: &'a mut Numbers,
        generation: u32,
        before: &'a Before,
    ) -> Self {
        Self {
            model,
            directory: Directory::new(model),
            realm,
            numbers,
            generation,
            before,
            accounts: Vec::with_capacity(model.accounts.len()),
            credential_lists: Vec::new(),
            acl_entries: Vec::new(),
        }
    }

    fn number_accounts(&mut self) {
        for account in &self.model.accounts {
            let (sid, numbers) = (account.resolved_sid(), &mut *self.numbers);
            let lists = account
                .credential_lists
                .iter()
                .map(|list| list.resolved_sid(sid));
            let acls = account.ip_acls.iter().map(|acl| acl.resolved_sid(sid));
            let domains = account
                .domains
                .iter()
                .map(|domain| domain.resolved_sid(sid));
            self.accounts.push(AccountNumbers {
                id: AccountId(number(&mut numbers.accounts, sid)),
                credential_lists: lists
                    .map(|sid| CredentialListId(number(&mut numbers.credential_lists, sid)))
                    .collect(),
                ip_acls: acls
                    .map(|sid| AclId(number(&mut numbers.ip_acls, sid)))
                    .collect(),
                domains: domains
                    .map(|sid| DomainId(number(&mut numbers.domains, sid)))
                    .collect(),
            });
        }
    }

    fn compile_lists(&mut self) {
        self.credential_lists = vec![None; self.numbers.credential_lists.len()];
        for (account, numbers) in self.model.accounts.iter().zip(&self.accounts) {
            for (list, id) in account
                .credential_lists
                .iter()
                .zip(&numbers.credential_lists)
            {
                let users = list.users.iter().map(|user| {
                    let credential = user.secret.credential(&user.username, self.realm);
                    (user.username.as_str(), credential)
                });
                let place = id.0 as usize;
                let before = self.before.credential_lists.get(place);
                let before = before.and_then(|list| list.as_deref());
                let table = CredentialTable::build(users, before, self.generation);
                self.credential_lists[place] = Some(table.into());
            }
            for (acl, id) in account.ip_acls.iter().zip(&numbers.ip_acls) {
                self.acl_entries
                    .extend(acl.entries.iter().map(|entry| (entry.0, *id)));
            }
        }
    }

    fn unknown(&self, kind: &'static str, name: &str, account: usize) -> CompileError {
        let account = self.model.accounts[account].name.as_str().into();
        CompileError::Unknown {
            kind,
            name: name.into(),
            account,
        }
    }

    fn lists(&self, account: usize, names: &[Name]) -> Result<Vec<CredentialListId>, CompileError> {
        let known = &self.directory.of_account[account].credential_lists;
        let id = |name: &Name| match known.get(name) {
            Some(place) => Ok(self.accounts[account].credential_lists[*place]),
            None => Err(self.unknown("credential list", name.as_str(), account)),
        };
        names.iter().map(id).collect()
    }

    fn compile_domains(&self) -> Result<Box<[Domain]>, CompileError> {
        let mut domains = Vec::new();
        for (at, account) in self.model.accounts.iter().enumerate() {
            for (domain, id) in account.domains.iter().zip(&self.accounts[at].domains) {
                domains.push(self.compile_domain(domain, *id, at)?);
            }
        }
        Ok(domains.into())
    }

    fn compile_domain(
        &self,
        domain: &model::Domain,
        id: DomainId,
        account: usize,
    ) -> Result<Domain, CompileError> {
        let known = &self.directory.of_account[account].ip_acls;
        let mut call_acls = Vec::with_capacity(domain.calls.ip_acls.len());
        for name in &domain.calls.ip_acls {
            match known.get(name) {
                Some(place) => call_acls.push(self.accounts[account].ip_acls[*place]),
                None => return Err(self.unknown("access control list", name.as_str(), account)),
            }
        }
        call_acls.sort_unstable();
        let registration_lists = match &domain.registrations {
            Some(mapped) => Some(self.lists(account, &mapped.credential_lists)?),
            None => None,
        };
        let name: Box<str> = domain.name.as_str().into();
        let since = |list: &CredentialListId| {
            let before = &self.before.mapped_since;
            let stayed = before.get(&(id, name.clone(), *list));
            stayed.copied().unwrap_or(self.generation)
        };
        let registration_since = registration_lists.iter().flatten().map(since).collect();
        let algorithm = |algorithm: &Algorithm| match algorithm {
            Algorithm::Md5 => DigestAlgorithm::Md5,
            Algorithm::Sha256 => DigestAlgorithm::Sha256,
        };
        Ok(Domain {
            id,
            account: self.accounts[account].id,
            name,
            call_acls: call_acls.into(),
            call_lists: self.lists(account, &domain.calls.credential_lists)?.into(),
            registration_lists: registration_lists.map(Into::into),
            registration_since,
            algorithms: domain.algorithms.iter().flatten().map(algorithm).collect(),
            from_any: domain.from == FromUser::Any,
            secure: domain.secure,
            calls_max: domain.calls_max,
            cps_max: domain.cps_max,
        })
    }

    fn compile_trunks(&self) -> Result<Box<[Trunk]>, CompileError> {
        let mut trunks = Vec::new();
        for place in self.directory.trunks() {
            trunks.push(self.compile_trunk(place)?);
        }
        trunks.sort_unstable_by_key(|trunk| trunk.id);
        match trunks.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(CompileError::TrunkNumber(pair[1].name.clone())),
            None => Ok(trunks.into()),
        }
    }

    fn compile_trunk(&self, place: TrunkPlace) -> Result<Trunk, CompileError> {
        let trunk = self.directory.trunk_at(place);
        let mut accounts = Vec::new();
        for name in trunk.accounts.iter().flatten() {
            let Some(at) = self.directory.accounts.get(name) else {
                let (kind, name) = ("account", name.as_str().into());
                return Err(CompileError::Unknown {
                    kind,
                    name,
                    account: "(operator)".into(),
                });
            };
            accounts.push(self.accounts[*at].id);
        }
        accounts.sort_unstable();
        let target = |target: &model::Target| Target {
            address: target.uri.address,
            host: target.uri.host.clone(),
            priority: target.priority,
            weight: target.weight,
        };
        let mut targets: Vec<Target> = trunk.targets.iter().map(target).collect();
        targets.sort_by_key(|target| target.priority);
        Ok(Trunk {
            id: self.directory.trunk_id(place),
            name: trunk.name.as_str().into(),
            owner: place.owner.map(|owner| self.accounts[owner].id),
            accounts: accounts.into(),
            targets: targets.into(),
            sources: trunk
                .sources
                .iter()
                .map(|source| (source.net, source.port))
                .collect(),
            contacts: trunk.contacts.iter().map(|contact| contact.0).collect(),
            listener: trunk.listener.as_ref().map(|name| name.as_str().into()),
            keep_host: trunk.keep_host,
            trusted_network: trunk.trusted_network,
            calls_max: trunk.calls_max,
            cps_max: trunk.cps_max,
            first_response_ms: trunk.first_response_ms,
            failover_statuses: trunk.failover_statuses.as_slice().into(),
        })
    }

    fn compile_routes(&self) -> Result<RouteTable, CompileError> {
        let mut table = RouteTableBuilder::default();
        for (at, account) in self.model.accounts.iter().enumerate() {
            for route in &account.routes {
                let scope = self.scope(route, at)?;
                let (kind, number) = match (&route.number, &route.prefix) {
                    (Some(number), None) => (Match::Exact, number),
                    (None, Some(prefix)) => (Match::Prefix, prefix),
                    (Some(_), Some(_)) | (None, None) => return Err(self.broken_route(at)),
                };
                if kind == Match::Prefix && number.as_str().len() > 127 {
                    return Err(self.broken_route(at));
                }
                table.add(scope, kind, number.as_str(), self.compile_route(route, at)?);
            }
        }
        Ok(table.finish())
    }

    fn compile_route(&self, route: &model::Route, account: usize) -> Result<Route, CompileError> {
        let destination = match (&route.aor, &route.trunk, route.status) {
            (Some(aor), None, None) => Destination::Aor {
                user: aor.user.as_str().into(),
                domain: self.domain(aor.domain.as_str(), account)?,
            },
            (None, Some(name), None) => Destination::Trunk(self.trunk(name, account)?),
            (None, None, Some(status)) => Destination::Status(status),
            _ => return Err(self.broken_route(account)),
        };
        Ok(Route {
            account: self.accounts[account].id,
            strip: route.strip,
            prepend: route.prepend.as_ref().map_or("", Number::as_str).into(),
            keep_number: route.keep_number,
            destination,
        })
    }

    fn scope(&self, route: &model::Route, account: usize) -> Result<Scope, CompileError> {
        match (&route.domain, &route.from_trunk) {
            (Some(name), None) => self.domain(name.as_str(), account).map(Scope::Domain),
            (None, Some(name)) => self.trunk(name, account).map(Scope::Trunk),
            (Some(_), Some(_)) | (None, None) => Err(self.broken_route(account)),
        }
    }

    fn broken_route(&self, account: usize) -> CompileError {
        CompileError::Route(self.model.accounts[account].name.as_str().into())
    }

    fn domain(&self, name: &str, account: usize) -> Result<DomainId, CompileError> {
        match self.directory.domains.get(name) {
            Some((owner, place)) if *owner == account => Ok(self.accounts[account].domains[*place]),
            Some(_) | None => Err(self.unknown("domain", name, account)),
        }
    }

    fn trunk(&self, name: &Name, account: usize) -> Result<TrunkId, CompileError> {
        match self.directory.trunk(account, name) {
            Some(place) if self.directory.may_use(account, place) => {
                Ok(self.directory.trunk_id(place))
            }
            Some(_) | None => Err(self.unknown("trunk", name.as_str(), account)),
        }
    }
}

fn mapped_since(domains: &[Domain]) -> MappedSince {
    let mut mapped = MappedSince::new();
    for domain in domains {
        let lists = domain.registration_lists.iter().flatten();
        for (list, since) in lists.zip(&domain.registration_since) {
            mapped.insert((domain.id, domain.name.clone(), *list), *since);
        }
    }
    mapped
}

/// One table over the sources of all trunks; an id there is a place in the list beside it.
fn compile_sources(trunks: &[Trunk]) -> (acl::Table, Box<[TrunkSource]>) {
    let mut prefixes = Vec::new();
    let mut sources = Vec::new();
    for (at, trunk) in trunks.iter().enumerate() {
        for (net, port) in &trunk.sources {
            prefixes.push((*net, AclId(sources.len() as u32)));
            sources.push(TrunkSource {
                port: *port,
                trunk: at as u32,
            });
        }
    }
    (acl::Table::build(&prefixes), sources.into())
}
