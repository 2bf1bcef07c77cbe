//! The home shard of a message: one pure function of its bytes and where it came in.

use super::{Arrival, Keys, Settings, ShardId};
use crate::wire::Message;

/// The shard that must handle `message`, received by `here`: a response by our Via branch; a
/// request with To tag and our Route token by the token; any other by hash(Call-ID) where its
/// listener steers by Call-ID, else `here`.
pub(crate) fn home_shard(
    settings: &Settings,
    keys: &Keys,
    here: ShardId,
    arrival: Arrival,
    message: Message<'_>,
) -> ShardId {
    unimplemented!("{settings:?}{keys:?}{here:?}{arrival:?}{message:?}")
}
