//! Who is called what in a model: names to places, and which trunk an account means.

use std::collections::HashMap;
use std::hash::Hash;

use sha2::{Digest, Sha256};

use super::TrunkId;
use super::model::{Provision, Trunk};
use super::text::{AclName, DomainName, Name};

/// Where a trunk stands in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TrunkPlace {
    /// The account that owns it; `None` = the operator.
    pub(super) owner: Option<usize>,
    /// Its place among the trunks of its owner.
    pub(super) index: usize,
}

/// Names of one account.
#[derive(Debug, Default)]
pub(super) struct AccountNames<'a> {
    pub(super) credential_lists: HashMap<&'a Name, usize>,
    pub(super) ip_acls: HashMap<&'a AclName, usize>,
    pub(super) trunks: HashMap<&'a Name, usize>,
}

/// Names of a model; of several objects with one name the first counts.
#[derive(Debug)]
pub(super) struct Directory<'a> {
    model: &'a Provision,
    pub(super) accounts: HashMap<&'a Name, usize>,
    /// Domain name to the account that has it and its place there.
    pub(super) domains: HashMap<&'a str, (usize, usize)>,
    pub(super) operator_trunks: HashMap<&'a Name, usize>,
    pub(super) of_account: Vec<AccountNames<'a>>,
}

fn by_name<'a, K: Eq + Hash>(names: impl Iterator<Item = &'a K>) -> HashMap<&'a K, usize> {
    let mut places = HashMap::new();
    for (place, name) in names.enumerate() {
        places.entry(name).or_insert(place);
    }
    places
}

impl<'a> Directory<'a> {
    pub(super) fn new(model: &'a Provision) -> Self {
        let mut domains = HashMap::new();
        let mut of_account = Vec::with_capacity(model.accounts.len());
        for (at, account) in model.accounts.iter().enumerate() {
            for (place, domain) in account.domains.iter().enumerate() {
                domains.entry(domain.name.as_str()).or_insert((at, place));
            }
            of_account.push(AccountNames {
                credential_lists: by_name(account.credential_lists.iter().map(|list| &list.name)),
                ip_acls: by_name(account.ip_acls.iter().map(|acl| &acl.name)),
                trunks: by_name(account.trunks.iter().map(|trunk| &trunk.name)),
            });
        }
        Self {
            model,
            accounts: by_name(model.accounts.iter().map(|account| &account.name)),
            domains,
            operator_trunks: by_name(model.trunks.iter().map(|trunk| &trunk.name)),
            of_account,
        }
    }

    /// The trunk that `account` calls `name`: its own before the operator's.
    pub(super) fn trunk(&self, account: usize, name: &Name) -> Option<TrunkPlace> {
        if let Some(index) = self.of_account[account].trunks.get(name) {
            return Some(TrunkPlace {
                owner: Some(account),
                index: *index,
            });
        }
        let index = self.operator_trunks.get(name)?;
        Some(TrunkPlace {
            owner: None,
            index: *index,
        })
    }

    /// The trunk at a place.
    pub(super) fn trunk_at(&self, place: TrunkPlace) -> &'a Trunk {
        match place.owner {
            Some(account) => &self.model.accounts[account].trunks[place.index],
            None => &self.model.trunks[place.index],
        }
    }

    /// True when `account` may use the trunk at `place`.
    pub(super) fn may_use(&self, account: usize, place: TrunkPlace) -> bool {
        match (place.owner, &self.trunk_at(place).accounts) {
            (Some(owner), _) => owner == account,
            (None, None) => true,
            (None, Some(named)) => named.contains(&self.model.accounts[account].name),
        }
    }

    /// Every trunk: the operator's, then those of the accounts.
    pub(super) fn trunks(&self) -> impl Iterator<Item = TrunkPlace> + use<'a> {
        let model = self.model;
        let operator = (0..model.trunks.len()).map(|index| TrunkPlace { owner: None, index });
        let own = model
            .accounts
            .iter()
            .enumerate()
            .flat_map(|(owner, account)| {
                (0..account.trunks.len()).map(move |index| TrunkPlace {
                    owner: Some(owner),
                    index,
                })
            });
        operator.chain(own)
    }

    /// The number of a trunk: from its owner's SID and its name, so that it is the same on every
    /// node and after every restart.
    pub(super) fn trunk_id(&self, place: TrunkPlace) -> TrunkId {
        let mut hash = Sha256::new();
        if let Some(owner) = place.owner {
            hash.update(self.model.accounts[owner].resolved_sid().to_string());
        }
        hash.update(b"/");
        hash.update(self.trunk_at(place).name.as_str());
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, ..] = digest;
        TrunkId(u32::from_be_bytes([a, b, c, d]))
    }

    /// The nearest domain that `name` is a sub-domain of, with its account.
    pub(super) fn parent_domain(&self, name: &'a DomainName) -> Option<(&'a str, usize)> {
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some((account, _)) = self.domains.get(parent) {
                return Some((parent, *account));
            }
            rest = parent;
        }
        None
    }
}
