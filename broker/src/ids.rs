//! Random ids from the operating system.

use tidewheel_protocol::Uuid;

/// A version-4 UUID, as Kafka's `Uuid.randomUuid` makes them: never zero, and its text never starts
/// with a dash, which command lines would take for an option.
///
/// # Panics
/// Where the operating system has no random numbers to give: nothing can be named then.
pub(crate) fn random_uuid() -> Uuid {
    loop {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = Uuid(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// A positive number that nobody can guess, as the id of a fetch session.
///
/// # Panics
/// Where the operating system has no random numbers to give.
pub(crate) fn random_session_id() -> i32 {
    loop {
        let number = getrandom::u32().expect("the operating system gives random numbers") >> 1;
        match i32::try_from(number) {
            Ok(id) if id > 0 => return id,
            _ => {}
        }
    }
}

/// A number that nobody can guess.
///
/// # Panics
/// As [`random_uuid`].
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_never_start_with_a_dash() {
        let ids: std::collections::HashSet<Uuid> = (0..1_000).map(|_| random_uuid()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| !id.to_string().starts_with('-')));
    }
}
