//! What a completion is about, packed into its 64 bits of user data.

/// Marks user data as ours.
const MAGIC: u64 = 0x51;

/// An operation of the ring. Receives and sends carry an index; its table is checked where it is
/// used. No generation is needed: a socket's receive and the wake read are each under way at most
/// once, and sends complete inside the submission that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// The multishot receive of a socket.
    Receive {
        /// Its index among the shard's sockets.
        socket: u32,
    },
    /// A send.
    Send {
        /// Its slot in the arena.
        slot: u32,
    },
    /// The read of the wake event.
    Wake,
    /// The cancellation of everything.
    Cancel,
}

impl Operation {
    /// Its user data.
    #[inline]
    pub(super) const fn encode(self) -> u64 {
        let (code, index) = match self {
            Self::Receive { socket } => (1, socket),
            Self::Send { slot } => (2, slot),
            Self::Wake => (3, 0),
            Self::Cancel => (4, 0),
        };
        MAGIC << 56 | code << 32 | index as u64
    }

    /// The operation of `user_data`.
    ///
    /// # Panics
    /// When it is not one that [`Self::encode`] made.
    #[inline]
    pub(super) fn decode(user_data: u64) -> Self {
        let index = user_data as u32;
        match user_data >> 32 {
            high if high == MAGIC << 24 | 1 => Self::Receive { socket: index },
            high if high == MAGIC << 24 | 2 => Self::Send { slot: index },
            high if high == MAGIC << 24 | 3 && index == 0 => Self::Wake,
            high if high == MAGIC << 24 | 4 && index == 0 => Self::Cancel,
            _ => panic!("user data {user_data:#x} is not ours"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_decoded_as_it_was_encoded() {
        for operation in [
            Operation::Receive { socket: 63 },
            Operation::Send { slot: u32::MAX },
            Operation::Wake,
            Operation::Cancel,
        ] {
            assert_eq!(Operation::decode(operation.encode()), operation);
        }
    }

    #[test]
    #[should_panic(expected = "not ours")]
    fn foreign_user_data_is_refused() {
        let _ = Operation::decode(2 << 32);
    }
}
