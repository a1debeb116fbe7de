/* Frames between peers and groups of the write-ahead log: round trips, and every damaged bit is
 * found (S172, S31). */
#include "test_util.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/message.h"
#include "format/wal_record.h"

static struct rf_message data_message(void)
{
    return (struct rf_message){
        .kind = RF_MSG_WRITE,
        .mode = 1,
        .status = 2,
        .request_id = 0x1122334455667788u,
        .hlc = rf_hlc_make(1700000000000u, 7),
        .wall_ms = 1700000000001u,
        .budget_ms = 1999,
        .ring_digest = 42,
        .table = 43,
        .token = 44,
        .target = 45,
        .row = {.version = {rf_hlc_make(1700000000000u, 7), 9},
                .expiry_ms = 1800000000000u,
                .key = rf_slice("k\0y", 3),
                .value = rf_slice("\0\xff", 2)},
    };
}

static void assert_same(const struct rf_message *a, const struct rf_message *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->status, b->status);
    assert_true(a->request_id == b->request_id && a->hlc == b->hlc && a->wall_ms == b->wall_ms);
    assert_int_equal(a->budget_ms, b->budget_ms);
    assert_true(a->ring_digest == b->ring_digest && a->table == b->table && a->token == b->token);
    assert_true(a->target == b->target);
    assert_true(a->row.version.hlc == b->row.version.hlc);
    assert_true(a->row.version.writer == b->row.version.writer);
    assert_true(rf_slice_eq(a->row.key, b->row.key) && rf_slice_eq(a->row.value, b->row.value));
    assert_true(rf_slice_eq(a->body, b->body));
}

/* Goal: what one node says is what the other hears. */
static void round_trips(void **state)
{
    (void)state;
    struct rf_message messages[3] = {data_message(),
                                     data_message(),
                                     {.kind = RF_MSG_GOSSIP_SYN,
                                      .hlc = 5,
                                      .wall_ms = 6,
                                      .target = 8,
                                      .body = rf_slice_str("body")}};
    messages[1].row = (struct rf_row){.version = {5, 6}}; /* an acknowledgement without a row */
    messages[1].kind = RF_MSG_WRITE_ACK;
    struct rf_buf buf = {0};
    for (int i = 0; i < 3; i++) {
        struct rf_message back;
        rf_buf_clear(&buf);
        rf_message_encode(&buf, &messages[i]);
        size_t size = 0;
        assert_rc_ok(rf_frame_size(rf_buf_slice(&buf), &size));
        assert_int_equal(buf.size, size);
        assert_rc_ok(rf_message_decode(rf_buf_slice(&buf), &back));
        assert_same(&messages[i], &back);
    }
    rf_buf_fini(&buf);
}

/* Goal: a flipped bit, a cut and an appended byte are refused. Method: all of them. */
static void damage_is_found(void **state)
{
    (void)state;
    struct rf_message message = data_message();
    struct rf_message back;
    struct rf_buf     buf = {0};
    rf_message_encode(&buf, &message);
    for (size_t i = 0; i < buf.size * 8; i++) {
        buf.data[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(rf_ok(rf_message_decode(rf_buf_slice(&buf), &back)));
        buf.data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t n = 0; n < buf.size; n++) {
        uint8_t *copy = malloc(n == 0 ? 1 : n);
        memcpy(copy, buf.data, n);
        assert_rc(RF_CORRUPT, rf_message_decode(rf_slice(copy, n), &back));
        free(copy);
    }
    assert_rc_ok(rf_message_decode(rf_buf_slice(&buf), &back));
    rf_buf_append(&buf, "x", 1);
    assert_rc(RF_CORRUPT, rf_message_decode(rf_buf_slice(&buf), &back));
    rf_buf_fini(&buf);
}

/* Goal: a length that cannot be is refused before anything is allocated for it. */
static void frame_sizes(void **state)
{
    (void)state;
    size_t size = 77;
    assert_rc(RF_MORE, rf_frame_size(rf_slice("\x0c\0\0", 3), &size));
    assert_rc(RF_CORRUPT, rf_frame_size(rf_slice("\0\0\0\0", 4), &size));
    assert_rc(RF_CORRUPT, rf_frame_size(rf_slice("\x0b\0\0\0", 4), &size));
    assert_rc(RF_CORRUPT, rf_frame_size(rf_slice("\xff\xff\xff\xff", 4), &size));
    assert_int_equal(77, size); /* untouched on failure */
    assert_rc_ok(rf_frame_size(rf_slice("\x0c\0\0\0", 4), &size));
    assert_int_equal(12, size);
}

static void hello(void **state)
{
    (void)state;
    struct rf_hello said = {
        .node = 256, .generation = 3, .name = rf_slice_str("n1"), .cluster = rf_slice_str("c")};
    struct rf_hello heard;
    struct rf_buf   buf = {0};
    rf_hello_encode(&buf, &said);
    assert_rc_ok(rf_hello_decode(rf_buf_slice(&buf), &heard));
    assert_true(heard.node == 256 && heard.generation == 3);
    assert_slice(heard.name, "n1");
    assert_slice(heard.cluster, "c");
    for (size_t n = 0; n < buf.size; n++) {
        assert_rc(RF_CORRUPT, rf_hello_decode(rf_slice(buf.data, n), &heard));
    }
    rf_buf_fini(&buf);
}

/* Goal: a group of the log is whole or refused; the unused rest of a segment is no damage (S31). */
static void wal_groups(void **state)
{
    (void)state;
    struct rf_buf        buf = {0};
    struct rf_message    message = data_message();
    struct rf_wal_record record = {.table = 5, .partition = 6, .token = 7, .row = message.row};
    struct rf_wal_group  group = {.segment = 8,
                                  .offset = 16,
                                  .first_seq = 9,
                                  .durable_seq = 4,
                                  .segment_first_seq = 7,
                                  .n_records = 2,
                                  .n_parts = 1,
                                  .shard = 2,
                                  .n_shards = 4,
                                  .flags = RF_WAL_CLOSED};
    struct rf_wal_part   part = {6, 5};
    struct rf_wal_group  back;
    size_t               size = 0;
    rf_wal_group_begin(&buf, 3); /* more room than is needed */
    rf_wal_record_encode(&buf, &record);
    rf_wal_record_encode(&buf, &record);
    size_t          used = buf.size - 2 * RF_WAL_PART_SIZE; /* without padding */
    struct rf_slice all = rf_wal_group_end(&buf, 3, &group, &part, 99);
    uint8_t        *data = buf.data + 2 * RF_WAL_PART_SIZE;
    assert_ptr_equal(data, all.data);
    assert_rc_ok(rf_wal_header_decode(all, 99, &back, &size));
    assert_rc_ok(rf_wal_group_check(all, &back));
    assert_int_equal(all.size, size);
    assert_int_equal(0, size % RF_WAL_ALIGN);
    assert_true(back.segment == 8 && back.offset == 16 && back.first_seq == 9);
    assert_true(back.durable_seq == 4 && back.segment_first_seq == 7 && back.n_records == 2);
    assert_true(back.shard == 2 && back.n_shards == 4 && back.flags == RF_WAL_CLOSED);
    assert_int_equal(1, back.n_parts);
    assert_true(rf_wal_group_part(&back, 0).partition == 6);
    assert_true(rf_wal_group_part(&back, 0).prev_seq == 5);
    assert_rc(RF_CORRUPT, rf_wal_header_decode(all, 98, &back, &size)); /* another one's log */
    assert_rc_ok(rf_wal_header_decode(all, 99, &back, &size));
    for (int i = 0; i < 2; i++) {
        struct rf_wal_record got;
        assert_rc_ok(rf_wal_record_decode(&back.records, &got));
        assert_true(got.table == 5 && got.partition == 6 && got.token == 7);
        assert_int_equal(0, rf_row_compare(&record.row, &got.row));
        assert_true(rf_slice_eq(record.row.value, got.row.value));
    }
    assert_int_equal(0, back.records.size);
    size_t header = RF_WAL_GROUP_HEADER + RF_WAL_PART_SIZE;
    for (size_t i = 0; i < used * 8; i++) {
        data[i / 8] ^= (uint8_t)(1u << i % 8);
        bool fine = rf_ok(rf_wal_header_decode(all, 99, &back, &size));
        assert_int_equal(i / 8 >= header, fine);
        assert_true(!fine || rf_wal_group_check(all, &back).rc == RF_CORRUPT);
        data[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    for (size_t n = 0; n < used; n++) {
        struct rf_slice cut = rf_slice(data, n);
        enum rf_rc      rc = rf_wal_header_decode(cut, 99, &back, &size).rc;
        assert_int_equal(n < header ? RF_TRUNCATED : RF_OK, rc);
        assert_true(n < header || rf_wal_group_check(cut, &back).rc == RF_TRUNCATED);
    }
    static const uint8_t zeros[RF_WAL_GROUP_HEADER];
    assert_rc(RF_NOT_FOUND, rf_wal_header_decode(rf_slice(zeros, sizeof(zeros)), 99, &back, &size));
    rf_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips), cmocka_unit_test(damage_is_found),
        cmocka_unit_test(frame_sizes), cmocka_unit_test(hello),
        cmocka_unit_test(wal_groups),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
