#include "server/store/main_format.h"

#include "gradwatch/v1/event.pb.h"

namespace gradwatch::server {
namespace {

// Messages are blobs; beside them stand the columns that are searched. A position or sequence is never given twice
// (AUTOINCREMENT), also when its row is deleted: resume tokens rely on it. 9 is the number of Event.alert_changed.
// alerts.state: an AlertState; 0: it went away without having fired.
static_assert(v1::Event::kAlertChangedFieldNumber == 9);
constexpr char kVersion2[] = R"sql(
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
INSERT INTO meta VALUES ('log_epoch', lower(hex(randomblob(16))));

CREATE TABLE jobs (
  sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
  uid          TEXT NOT NULL UNIQUE,
  job_id       TEXT NOT NULL UNIQUE,
  attach_token TEXT NOT NULL,
  trainer_pid  INTEGER NOT NULL,
  acked_notice INTEGER NOT NULL,
  at_step      INTEGER,
  pending      BLOB NOT NULL,
  epoch        INTEGER NOT NULL,
  job          BLOB NOT NULL
) STRICT;

CREATE TABLE events (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  uid      TEXT NOT NULL,
  number   INTEGER NOT NULL,
  job_id   TEXT NOT NULL,
  kind     INTEGER NOT NULL,
  event    BLOB NOT NULL,
  UNIQUE (uid, number)
) STRICT;
CREATE INDEX alert_events ON events (position) WHERE kind = 9;
CREATE INDEX alert_events_of_job ON events (job_id, position) WHERE kind = 9;

CREATE TABLE alerts (
  position INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  uid      TEXT NOT NULL,
  job_id   TEXT NOT NULL,
  state    INTEGER NOT NULL,
  severity INTEGER NOT NULL,
  alert    BLOB NOT NULL
) STRICT;
CREATE INDEX alerts_of_job ON alerts (job_id, position);
CREATE INDEX alerts_of_uid ON alerts (uid);

CREATE TABLE silences (
  silence_id TEXT PRIMARY KEY,
  end_millis INTEGER NOT NULL,
  silence    BLOB NOT NULL
) STRICT;

CREATE TABLE removals (
  uid      TEXT PRIMARY KEY,
  attempts INTEGER NOT NULL
) STRICT;

CREATE TABLE requests (
  request_id    TEXT PRIMARY KEY,
  digest        BLOB NOT NULL,
  response      BLOB NOT NULL,
  create_millis INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_by_age ON requests (create_millis);
)sql";

// Edits of the controls wait in the log alone; a launcher's handle is its own affair.
constexpr char kVersion3[] = R"sql(
ALTER TABLE jobs ADD COLUMN handle TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN trainer_id TEXT NOT NULL DEFAULT '';
UPDATE jobs SET handle = 'process ' || trainer_pid WHERE trainer_pid != 0;
ALTER TABLE jobs DROP COLUMN trainer_pid;
ALTER TABLE jobs DROP COLUMN at_step;
ALTER TABLE jobs DROP COLUMN pending;
)sql";

}  // namespace

const DatabaseFormat& MainFormat() {
  static const auto* const format = new DatabaseFormat{
      .application_id = 0x67774d31,  // "gwM1"
      .synchronous = "FULL",
      .check_up_to = int64_t{64} << 20,  // a fifth of a second
      .oldest = 2,
      .migrations = {kVersion2, kVersion3},
  };
  return *format;
}

}  // namespace gradwatch::server
