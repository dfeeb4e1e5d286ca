//! Properties, with random terms and random bytes.

use super::*;

prop_compose! {
    fn any_terms()(
        scopes in proptest::collection::btree_set("[a-z][a-z0-9-]{0,20}", 0..4),
        account in "[a-z_][a-z0-9_-]{0,31}",
        force_command in proptest::option::of("[!-~][ -~]{0,60}"),
        extensions in proptest::sample::subsequence(vec![Extension::PortForwarding, Extension::Pty], 0..=2),
        lifetime_s in 0u32..40_000,
        grace_s in any::<u32>(),
        krl_max_age_s in proptest::option::of(any::<u32>()),
        narrow in any::<bool>(),
    ) -> Terms {
        Terms {
            account: account.parse().unwrap(),
            principals: scopes.iter().map(|s| format!("{account}:{s}").parse().unwrap()).collect(),
            force_command,
            extensions,
            source_address: if narrow { terms().source_address } else { Vec::new() },
            lifetime_s,
            grace_s,
            krl_max_age_s,
            ..terms()
        }
    }
}

proptest! {
    #[test]
    fn no_certificate_outlives_its_grant_or_lacks_a_principal(
        terms in any_terms(),
        at in 0..u64::MAX / 2,
        left in 0u64..50_000,
    ) {
        let grant_end = at + left;
        if let Ok(profile) = profile_with(&terms, |i| { i.at = at; i.grant_end = grant_end; }) {
            let body = Body::of(&profile);
            let fields = body.fields().unwrap();
            prop_assert!(fields.valid_before <= grant_end);
            prop_assert!(fields.valid_before <= at + u64::from(terms.lifetime_s));
            prop_assert!(fields.valid_before - at <= limits::LIFETIME_MAX_S);
            prop_assert!(!fields.principals.is_empty());
            prop_assert_eq!(lint(&body, &profile), Ok(()));
        } else {
            prop_assert!(terms.principals.is_empty()
                || left.min(terms.lifetime_s.into()) < limits::LIFETIME_MIN_S
                || left.min(terms.lifetime_s.into()) > limits::LIFETIME_MAX_S);
        }
    }

    #[test]
    fn receipts_go_in_and_come_out_bit_for_bit(terms in any_terms(), receipt in "\\PC{1,400}", serial in 1..1_000_000_000u64) {
        if let Ok(profile) = profile_with(&terms, |i| i.serial = serial) {
            let body = Body::of(&profile);
            let certificate = sign(body.with_receipt(&receipt));
            let cut = cut_receipt(&certificate).unwrap();
            prop_assert_eq!(&cut.body, &body);
            prop_assert_eq!(cut.receipt, receipt);
            // Another reader finds the receipt too, at its lexical place.
            let other = ssh_key::Certificate::from_bytes(&certificate).unwrap();
            prop_assert!(other.verify_signature().is_ok());
            prop_assert!(other.extensions().contains_key("receipt@fireaxe"));
            prop_assert!(check(&certificate, &terms).is_ok() || serial != 1234);
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), place in 0usize..700) {
        let _ = cut_receipt(&bytes);
        let mut good = issue(&terms());
        let place = place.min(good.len());
        good.splice(place..place, bytes);
        let _ = cut_receipt(&good);
        prop_assert!(good == issue(&terms()) || check(&good, &terms()).is_err());
    }
}
