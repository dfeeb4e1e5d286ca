//! The lock-out suite: whatever is wrong with a file of ours, however a step was interrupted, a login that
//! should work works and one that should not does not.
//!
//! Five doors are tried in every state:
//!
//! | door | opens |
//! |---|---|
//! | `deploy` with a standing key | always: no tier uses the account |
//! | `root` with a standing key | always, but while sshd cannot read its revocation list: then sshd refuses every key of a named account, and the next `krl` mends it |
//! | `ops` with a certificate | while the CA is trusted, revocations can be read and principals are there |
//! | `ops` with a revoked certificate | never, but while the list on disk is one that revokes nobody, which only root's hand can put there: `doctor` says so and the next `krl` mends it |
//! | `deploy` with a certificate | never |
//!
//! | file | what is wrong in it |
//! |---|---|
//! | `files` | a file that sshd reads, a fetch, the disk |
//! | `apply` | `apply` and `remove` themselves |
//! | `program` | what sshd and PAM run, and the daemon |

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

mod apply;
mod files;
mod ground;
mod program;

use fireaxe_tests::world::OpenSsh;

/// Each of these on both versions of OpenSSH.
macro_rules! on_both {
    ($($file:ident: $($test:ident)*;)*) => {
        mod stock {
            $($(#[test] fn $test() { crate::$file::$test(crate::OpenSsh::Stock) })*)*
        }
        mod backports {
            $($(#[test] fn $test() { crate::$file::$test(crate::OpenSsh::Backports) })*)*
        }
    };
}

on_both! {
    files:
        every_wrong_ca_file_refuses_certificates_and_nothing_else
        every_wrong_revocation_list_is_seen_and_the_next_fetch_mends_it
        no_list_that_a_ca_could_be_made_to_serve_gets_in_force
        every_wrong_principals_file_refuses_that_accounts_certificates_and_nothing_else
        a_fetch_that_died_at_any_step_is_made_good_by_the_next
        a_full_disk_changes_nothing_that_is_in_force;
    apply:
        whatever_overrules_the_drop_in_is_refused_and_everything_is_as_it_was
        apply_that_is_killed_at_any_step_leaves_what_was_before_or_all_of_it
        a_reboot_in_the_middle_of_apply_ends_in_what_was_before
        a_timer_that_nobody_stops_puts_back_what_was_before
        apply_remembers_its_accounts_and_files_leaves_an_enrolled_host_alone
        remove_leaves_nothing_and_apply_again_changes_nothing;
    program:
        whatever_becomes_of_the_program_standing_keys_open_what_they_did
        the_two_ways_are_changed_whole_and_back
        remove_takes_everything_that_asking_the_program_needed;
}
