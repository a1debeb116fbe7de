/* The ring between two threads: nothing lost, nothing twice, in order; full is an answer. */
#include "test_util.h"

#include <sched.h>
#include <uv.h>

#include "io/mailbox.h"

#define MESSAGES 200000u

struct message {
    uint64_t number;
    uint64_t check; /* number * 3: a torn copy shows */
};

static void send_all(void *argument)
{
    for (uint64_t i = 0; i < MESSAGES;) {
        struct message message = {i, i * 3};
        if (rf_mailbox_push(argument, &message)) {
            i++;
        } else {
            sched_yield();
        }
    }
}

/* Goal: the order of one sender is kept under load of two threads. Method: a ring of 8, so that it
 * is full and empty most of the time. */
static void two_threads(void **state)
{
    (void)state;
    uv_thread_t        sender;
    struct rf_mailbox *box = rf_mailbox_new(8, sizeof(struct message));
    assert_non_null(box);
    assert_int_equal(0, uv_thread_create(&sender, send_all, box));
    for (uint64_t i = 0; i < MESSAGES;) {
        struct message message;
        if (!rf_mailbox_pop(box, &message)) {
            sched_yield();
            continue;
        }
        assert_int_equal(i, message.number);
        assert_int_equal(i * 3, message.check);
        i++;
    }
    uv_thread_join(&sender);
    struct message rest;
    assert_false(rf_mailbox_pop(box, &rest));
    rf_mailbox_free(box);
}

/* Goal: a full ring refuses and keeps what it has. */
static void full(void **state)
{
    (void)state;
    struct rf_mailbox *box = rf_mailbox_new(4, sizeof(int));
    int                got = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            assert_true(rf_mailbox_push(box, &i));
        }
        assert_false(rf_mailbox_push(box, &round));
        for (int i = 0; i < 4; i++) {
            assert_true(rf_mailbox_pop(box, &got));
            assert_int_equal(i, got);
        }
        assert_false(rf_mailbox_pop(box, &got));
    }
    rf_mailbox_free(box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_threads), cmocka_unit_test(full)};
    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
