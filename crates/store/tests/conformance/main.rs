//! What any database behind the store must do: SQLite and PostgreSQL. The cases are functions over a [`Database`] and
//! name no product: to run them on another one, give `Database` another way to come into being and the macro another
//! line. What only PostgreSQL can suffer is in `faults`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audit;
mod chain;
mod codes;
mod copy;
mod database;
mod deletion;
mod deletion_race;
mod exchange;
mod faults;
mod flows;
mod forging;
mod guesses;
mod housekeeping;
mod imports;
mod instances;
mod leaks;
mod link_codes;
mod mail_links;
mod messages;
mod methods;
mod notices;
mod oauth;
mod operators;
mod others;
mod owed_marks;
mod pairings;
mod plans;
mod reauthentications;
mod retention;
mod second_factor;
mod sessions;
mod signing_keys;
mod step_up;
mod token_limits;
mod token_lookups;
mod token_secrets;
mod tokens;
mod undo;
mod wallets;
mod windows;

macro_rules! conformance {
    ($($topic:ident { $($case:ident,)* })*) => {
        conformance!(@on sqlite, $($topic { $($case,)* })*);
        conformance!(@on postgres, $($topic { $($case,)* })*);

        /// All of them, for whoever wants to see every statement that the store sends.
        fn cases() -> Vec<plans::Case> {
            vec![$($((concat!(stringify!($topic), "::", stringify!($case)), |db| Box::pin($topic::$case(db))),)*)*]
        }
    };
    (@on $product:ident, $($topic:ident { $($case:ident,)* })*) => {
        mod $product {
            $(mod $topic {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn $case() {
                        let database = crate::database::Database::$product().await;
                        crate::$topic::$case(&database).await;
                    }
                )*
            })*
        }
    };
}

// A case that is missing here is dead code, which the lints refuse.
conformance! {
    codes {
        a_right_code_creates_the_account_and_signs_in,
        the_second_sign_in_finds_the_account,
        a_code_works_once,
        a_new_code_replaces_the_old_one,
        wrong_guesses_are_counted_and_end,
        an_expired_code_signs_nobody_in,
        a_disabled_user_is_refused,
        parallel_right_codes_make_one_session,
        of_parallel_wrong_guesses_three_are_compared,
    }
    flows {
        guesses_count_against_the_flow_that_makes_them,
        a_flow_that_was_not_begun_has_no_guesses,
        who_names_no_flow_shares_three_guesses_at_each_code,
        no_guess_hurts_the_link,
        a_mailbox_that_has_had_enough_gets_a_flow_and_no_mail_while_a_code_works,
        a_code_dies_of_twenty_guesses_and_longer_ones_of_none,
        a_mailbox_suffers_eighty_guesses_a_year,
        whoever_has_the_right_code_takes_their_guesses_back,
        of_parallel_guesses_three_a_flow_and_twenty_a_code_are_compared,
        a_guess_does_the_same_whether_there_is_a_code_or_an_account,
        flows_that_are_over_go_in_batches,
    }
    guesses {
        a_person_suffers_thirty_guesses_at_single_codes_a_year,
        a_session_takes_back_what_was_right_and_no_more,
        of_parallel_guesses_at_a_person_thirty_are_compared,
        guesses_of_all_instances_are_weighed_together,
    }
    exchange {
        a_code_signs_in_by_what_it_stands_for,
        an_exchange_code_works_once_and_for_its_time,
        an_exchange_code_of_a_disabled_user_is_refused,
        parallel_exchanges_make_one_session,
        parallel_first_sign_ins_make_one_account,
        a_sign_in_beside_the_accounts_end_is_before_or_after_it,
        of_parallel_proofs_of_an_unproved_address_one_releases_it,
        exchange_codes_that_are_over_go_in_batches,
        a_code_with_a_challenge_is_for_whoever_has_the_verifier,
    }
    mail_links {
        what_a_link_is_about_is_kept_and_goes,
        a_links_challenge_goes_on_to_its_exchange_code,
    }
    oauth {
        a_state_is_spent_once_on_any_instance,
        a_state_is_of_one_provider_browser_and_time,
        of_parallel_spenders_one_gets_the_state,
        a_state_says_what_it_is_for,
        a_link_goes_from_reference_to_state_to_proof_to_method,
        a_proof_seen_elsewhere_is_spent,
        of_parallel_comers_one_links,
        a_link_to_a_disabled_user_or_an_ended_session_is_refused,
        proofs_that_are_over_go_in_batches,
        an_address_that_is_vouched_for_is_a_way_in,
        an_unproven_address_attracts_nobody,
        states_that_are_over_go_in_batches,
    }
    instances {
        a_round_is_known_when_everybody_has_acknowledged_it,
        who_does_not_answer_has_no_row_and_makes_a_new_one,
        of_a_change_and_its_round_nobody_sees_the_round_alone,
    }
    owed_marks {
        ending_or_changing_a_token_owes_a_mark,
        ending_a_session_owes_a_mark,
        only_a_refresh_that_ends_its_session_owes_a_mark,
        deleting_an_account_owes_one_mark_for_everything,
        a_mark_is_owed_until_somebody_purges_what_they_have_seen,
        of_two_ends_the_later_one_is_kept,
        a_mark_that_is_owed_again_is_not_purged_with_the_old_one,
    }
    sessions {
        a_session_is_found_with_its_user,
        a_refresh_starts_the_next_generation,
        a_lost_reply_is_answered_again_within_the_grace,
        a_replay_after_the_grace_ends_the_session,
        a_clock_that_was_set_back_does_not_prolong_the_grace,
        an_older_generation_ends_the_session,
        refreshes_end_with_the_session,
        a_disabled_user_refreshes_nothing,
        parallel_refreshes_make_one_lineage,
        a_replay_by_another_program_from_elsewhere_is_written_down,
        only_its_owner_ends_a_session,
        touching_never_sets_back,
    }
    tokens {
        a_created_token_is_found_and_listed,
        somebody_elses_token_is_a_miss,
        deleting_leaves_the_events,
        parallel_deletions_delete_once,
        uses_are_merged,
        uses_of_many_tokens_are_noted_at_once,
        a_new_address_is_written_down,
        a_thousand_new_addresses_a_day_are_written_down,
    }
    token_limits {
        creations_are_limited_and_deleting_gives_none_back,
        a_lowered_limit_tells_when_it_is_met_again,
        expired_tokens_are_not_active,
        unknown_and_disabled_users_create_nothing,
        of_parallel_creations_at_the_daily_limit_one_succeeds,
        of_parallel_creations_at_the_active_limit_one_succeeds,
    }
    token_lookups {
        those_who_ask_at_once_are_each_answered,
        secrets_lead_to_their_tokens_many_at_once,
        callers_that_go_away_are_nobody_elses_loss,
        a_row_that_cannot_be_read_is_nobody_elses_failure,
        whoever_asks_after_a_deletion_finds_nothing,
    }
    token_secrets {
        a_secret_leads_to_its_token_and_owner,
        rotation_replaces_the_secret,
        rotation_with_a_grace_keeps_the_old_secret_for_it,
        a_later_rotation_never_prolongs_a_grace,
        rotations_count_as_creations,
        a_user_rotates_within_the_limit_of_creations,
        a_replaced_secret_replaces_nothing,
        what_has_ended_makes_no_secret,
        what_is_made_beside_an_end_is_there_when_the_end_is_answered,
        the_secret_that_ends_first_is_found,
        of_parallel_rotations_by_one_secret_one_succeeds,
        of_parallel_creations_and_rotations_at_the_limit_one_succeeds,
        parallel_rotations_leave_one_present_secret,
        secrets_of_other_keys_are_candidates_until_resealed,
        candidates_are_read_page_by_page,
    }
    audit {
        events_keep_what_they_were_given,
        pages_follow_each_other_without_gaps,
        pages_can_be_of_one_kind,
    }
    chain {
        sealing_continues_where_it_stopped,
        one_holder_seals_at_a_time,
        a_lease_of_a_clock_that_was_set_back_holds_nobody_up,
        parallel_sealers_make_one_chain,
        a_whole_chain_verifies,
        an_altered_event_is_named,
        an_erasure_needs_a_later_deletion_in_the_chain,
        the_first_of_several_breaks_is_named,
        a_removed_event_is_named,
        a_cut_off_end_is_noticed,
        an_event_slipped_in_is_named,
        an_end_that_does_not_fit_is_noticed,
        what_an_older_version_sealed_is_sealed_anew,
        deleting_an_account_erases_its_particulars_and_leaves_the_chain_whole,
        deleting_beside_the_sealer_leaves_the_chain_whole,
        what_calls_wrote_late_of_somebody_who_is_gone_is_sealed_without_particulars,
        an_id_that_is_used_again_leaves_the_chain_whole_at_every_moment,
    }
    forging {
        every_value_of_every_event_is_bound,
        every_value_of_the_head_is_bound,
        forgeries_of_many_events_are_found,
        events_that_are_removed_copied_or_exchanged_are_found,
        an_event_is_looked_at_wherever_it_is_put,
        an_invented_end_and_return_erase_nothing_of_who_is_there,
        the_service_seals_no_evidence_for_a_forger,
        of_what_can_be_rewritten_the_noted_end_tells,
    }
    retention {
        what_is_old_goes_in_batches_and_the_rest_is_provable,
        nothing_younger_goes_whatever_came_before_it,
        what_a_deletion_justifies_goes_before_it,
        what_was_tampered_with_is_not_pruned,
        an_event_of_a_clock_that_was_ahead_holds_nothing_up,
        a_noted_end_that_is_left_outlives_pruning,
        pruning_beside_the_sealer_and_deletions_leaves_the_chain_whole,
    }
    signing_keys {
        of_several_next_keys_one_is_kept,
        a_superseded_key_ends_and_no_later_than_before,
    }
    pairings {
        a_pairing_goes_its_way,
        a_taken_user_code_is_not_given_again,
        only_polls_with_the_secret_count,
        parallel_mints_make_one_token,
        of_parallel_decisions_one_stands,
        a_poll_beside_its_approval_sees_before_or_after,
        limits_on_creation_hold_at_both_steps,
        a_form_decides_once_in_its_users_name,
        whoever_decides_can_only_narrow,
        a_newcomer_is_asked_before_there_is_an_account,
        other_ways_lead_to_a_form_as_well,
        pairings_that_are_over_go_in_batches,
        a_session_that_has_ended_lets_nothing_in,
    }
    wallets {
        a_signed_challenge_signs_in_once,
        a_challenge_is_for_its_wallet_and_time_only,
        linking_and_signing_in_are_kept_apart,
        of_parallel_replays_one_signs_in,
        challenges_that_are_over_go_in_batches,
    }
    second_factor {
        a_secret_waits_until_it_is_enabled_and_then_stays,
        a_sign_in_waits_for_its_second_proof,
        a_backup_code_is_spent_with_its_sign_in,
        a_disabled_user_finishes_nothing,
        guesses_at_a_waiting_sign_in_are_counted_and_end,
        of_parallel_guesses_no_more_than_allowed_are_counted,
        of_parallel_proofs_one_begins_a_session,
        of_parallel_enablings_one_counts,
        on_the_page_of_a_pairing_no_session_begins,
        sign_ins_that_waited_too_long_go_in_batches,
    }
    step_up {
        every_change_that_takes_an_account_over_wants_a_recent_proof,
        a_session_that_has_ended_changes_nothing,
        what_makes_a_token_wants_it_where_that_is_set,
        a_change_beside_enabling_a_second_factor_is_before_it_or_refused,
        changes_beside_a_renewal_are_after_it_or_refused,
    }
    reauthentications {
        a_code_renews_its_own_session_once,
        a_way_in_that_was_removed_proves_nothing,
        of_parallel_guesses_no_more_than_a_sessions_few_are_compared,
        five_guesses_are_compared_in_one_flow,
        a_persons_sessions_guess_at_the_app_as_often_as_sign_ins,
        with_a_second_factor_nothing_else_renews,
        new_backup_codes_end_the_old_ones,
        a_wallet_renews_the_session_it_signed_for,
        a_visit_to_a_provider_renews_the_session_that_asked,
        flows_that_are_over_go_in_batches,
    }
    link_codes {
        a_right_code_adds_the_way_in_once,
        a_code_is_for_its_user_address_and_time,
        what_is_anothers_stays_theirs,
        of_parallel_wrong_link_codes_three_are_compared,
        however_many_accounts_guess_at_an_address_few_guesses_are_compared,
        of_parallel_right_link_codes_one_adds,
        of_accounts_that_prove_one_address_at_once_one_gets_it,
        a_shut_account_gets_no_way_in,
        a_link_beside_the_accounts_end_is_before_or_after_it,
        link_codes_that_are_over_go_in_batches,
    }
    methods {
        of_parallel_unlinks_the_last_way_in_stays,
        a_session_that_has_ended_meanwhile_adds_no_way_in,
        what_was_never_proved_is_no_way_in_that_is_left,
        the_primary_way_in_is_one_and_is_shown,
        deleting_a_user_ends_everything_of_theirs,
    }
    notices {
        what_happens_is_told_to_every_proved_address_and_to_nobody_else,
        of_a_thousand_notices_each_is_sent_once_by_parallel_senders,
        what_somebody_was_killed_at_is_sent_by_the_next_after_a_while,
        an_address_gets_ten_mails_at_once_then_one_an_hour_and_learns_of_everything,
        many_notices_go_in_one_mail,
        what_cannot_be_sent_waits_and_is_given_up_in_the_end,
        the_mail_about_a_deletion_goes_when_the_account_is_gone,
        an_installation_that_tells_nobody_keeps_nothing,
        a_device_is_new_once_and_fifty_are_known,
        parallel_sign_ins_by_a_new_device_are_told_once_each_way,
        a_session_ends_with_the_way_in_that_it_began_with,
        any_number_of_sessions_ends_with_a_way_in,
        what_waits_for_its_second_proof_ends_with_its_way_in,
    }
    undo {
        a_link_ends_everything_that_lets_somebody_in,
        a_link_works_for_its_time,
        any_number_of_tokens_ends_in_batches_and_the_link_last,
        of_parallel_presses_one_counts_and_nothing_slips_through,
    }
    deletion {
        an_account_of_any_size_is_deleted_in_batches,
        a_deleted_user_is_nobody_while_their_rows_are_still_there,
        what_is_kept_under_an_address_goes_with_its_account_and_not_what_comes_after,
        every_table_with_a_users_rows_is_emptied,
        disabling_ends_any_number_of_sessions_at_once,
        ending_all_other_sessions_keeps_the_one_that_asks,
        an_account_has_a_bounded_number_of_ways_in,
        several_that_delete_the_same_account_do_it_once,
    }
    deletion_race {
        whatever_is_written_beside_a_deletion_nothing_of_the_person_is_left,
    }
    messages {
        of_parallel_messages_no_more_than_each_share_are_counted,
        newcomers_wait_and_whoever_was_here_does_not,
        past_the_quota_only_names_that_somebody_signs_in_by_get_a_message,
        a_code_for_linking_counts_and_a_refused_one_is_not_kept,
        days_that_are_over_go_in_batches,
    }
    housekeeping {
        long_expired_tokens_go_in_batches,
        codes_that_are_over_go_in_batches,
        sessions_that_are_over_go_in_batches,
    }
    imports {
        an_import_keeps_id_and_dates_and_is_written_down,
        importing_again_changes_nothing_and_brings_nothing_back,
        what_is_somebody_elses_is_refused,
        instances_learn_of_older_secrets_page_by_page,
        parallel_imports_of_one_file_import_each_token_once,
        an_import_beside_its_owners_end_is_before_or_after_it,
    }
    leaks {
        of_parallel_reports_one_ends_the_secret,
        a_report_beside_a_rotation_never_takes_the_new_secret,
    }
    windows {
        a_run_knows_whether_the_one_before_ended_in_order,
        twenty_kills_are_remembered_and_runs_with_windows,
        runs_that_begin_at_once_have_numbers_of_their_own,
        saved_windows_come_back_page_by_page,
        an_earlier_run_saves_over_nothing_of_a_later_one,
        setting_the_clock_moves_every_run_and_once,
        windows_that_are_over_go_in_batches,
        parallel_saves_of_the_same_windows_do_not_wait_for_each_other,
    }
    operators {
        a_made_account_is_signed_in_to,
        disabling_ends_sessions_and_enabling_keeps_tokens,
        operators_see_what_is_newest,
    }
    others {
        a_mails_link_signs_in_once,
        a_mails_link_is_traded_for_a_code_once,
        what_an_older_key_sealed_is_sealed_anew_unless_it_has_changed,
        a_failed_second_factor_is_written_down,
        a_write_of_another_process_to_a_file_is_seen_and_ones_own_is_not,
        lists_of_one_account_keep_nobody_else_waiting,
        a_rare_kind_of_event_is_found_among_many,
    }
}
