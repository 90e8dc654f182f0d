// What three stores do with the statistics of all jobs together: SQLite (one database, large rows), LMDB, RocksDB.
//
// The work is that of a server that takes in reports of 6 tensors: each commit writes one journal entry with what has
// just arrived of all jobs; each 256 steps of a job become one compressed batch and a small row of tiers; journal
// entries that are covered are deleted. Nothing is synced but once a second. Contents are random bytes, as compressed
// ones look.
//
// Not part of the build, which does not need LMDB's headers; with liblmdb-dev:
//   g++ -std=c++20 -O2 measure_storage_engines.cc -lsqlite3 -llmdb -lrocksdb -o measure_storage_engines
//   measure_storage_engines sqlite|sqlite-4k|sqlite-full|lmdb|rocksdb|rocksdb-blobs FOLDER write JOBS REPORTS
//   ... FOLDER kill ROUNDS | flip ROUNDS | full        (full: FOLDER is a small file system, with a file `ballast`,
//   which is
// removed when it is full)
#include <fcntl.h>
#include <lmdb.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr int kBatchSteps = 256;
constexpr size_t kBatchBytes = size_t{kBatchSteps} * 6 * 30;
constexpr size_t kTierBytes = size_t{kBatchSteps} * 6 * 4;
constexpr size_t kJournalBytesPerReport = 300;  // 750 bytes, compressed fast

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A key that sorts by (job, kind, number); kind 0 is the journal, of job 0.
std::string Key(uint32_t job, uint8_t kind, uint64_t number) {
  std::string key;
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<char>(job >> shift));
  key.push_back(static_cast<char>(kind));
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(number >> shift));
  return key;
}

using Put = std::pair<std::string, std::string_view>;

class Engine {
 public:
  virtual ~Engine() = default;
  // One atomic commit; false: it failed, for the reason printed.
  virtual bool Commit(const std::vector<Put>& puts, const std::string& drop_from, const std::string& drop_to) = 0;
  // Makes durable what was committed.
  virtual void Sync() = 0;
  // Calls for keys in [from, to); false: damage was met.
  virtual bool Scan(const std::string& from, const std::string& to,
                    const std::function<void(std::string_view, std::string_view)>& each) = 0;
  // Gives space back to the file system, as far as the engine does.
  virtual void GiveBack() {}
};

class Sqlite final : public Engine {
 public:
  Sqlite(const std::string& folder, const char* synchronous, const char* page_size) {
    if (sqlite3_open((folder + "/s.sqlite").c_str(), &db_) != SQLITE_OK) return;
    for (const std::string& sql :
         {std::string("PRAGMA page_size=") + page_size, std::string("PRAGMA auto_vacuum=INCREMENTAL"),
          std::string("PRAGMA journal_mode=WAL"), std::string("PRAGMA synchronous=") + synchronous,
          std::string("PRAGMA wal_autocheckpoint=0"), std::string("PRAGMA cache_size=-8192"),
          std::string("CREATE TABLE IF NOT EXISTS b (k BLOB PRIMARY KEY, v BLOB NOT NULL) STRICT, WITHOUT ROWID")}) {
      if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return;
    }
    ok_ = Prepare("INSERT OR REPLACE INTO b VALUES (?1, ?2)", &put_) &&
          Prepare("DELETE FROM b WHERE k >= ?1 AND k < ?2", &drop_) &&
          Prepare("SELECT k, v FROM b WHERE k >= ?1 AND k < ?2 ORDER BY k", &scan_);
  }
  ~Sqlite() override {
    for (sqlite3_stmt* statement : {put_, drop_, scan_}) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }
  bool ok() const { return ok_; }

  bool Commit(const std::vector<Put>& puts, const std::string& from, const std::string& to) override {
    bool good = Exec("BEGIN IMMEDIATE");
    for (const Put& put : puts) good = good && Run(put_, put.first, put.second);
    if (!from.empty()) good = good && Run(drop_, from, to);
    good = good && Exec("COMMIT");
    if (good) return true;
    printf("commit: %s\n", sqlite3_errmsg(db_));
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    return false;
  }
  void Sync() override { sqlite3_wal_checkpoint_v2(db_, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr); }
  bool Scan(const std::string& from, const std::string& to,
            const std::function<void(std::string_view, std::string_view)>& each) override {
    Bind(scan_, 1, from);
    Bind(scan_, 2, to);
    int code = SQLITE_OK;
    while ((code = sqlite3_step(scan_)) == SQLITE_ROW) {
      const auto column = [this](int i) {
        const auto* const bytes = static_cast<const char*>(sqlite3_column_blob(scan_, i));
        return std::string_view(bytes, static_cast<size_t>(sqlite3_column_bytes(scan_, i)));
      };
      each(column(0), column(1));
    }
    sqlite3_reset(scan_);
    return code == SQLITE_DONE;
  }
  void GiveBack() override {
    Exec("PRAGMA incremental_vacuum");
    Sync();
  }

 private:
  bool Prepare(const char* sql, sqlite3_stmt** out) {
    return sqlite3_prepare_v2(db_, sql, -1, out, nullptr) == SQLITE_OK;
  }
  bool Exec(const char* sql) { return sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK; }
  static void Bind(sqlite3_stmt* statement, int i, std::string_view bytes) {
    sqlite3_bind_blob(statement, i, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
  }
  static bool Run(sqlite3_stmt* statement, std::string_view first, std::string_view second) {
    Bind(statement, 1, first);
    Bind(statement, 2, second);
    const bool good = sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_reset(statement);
    return good;
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt *put_ = nullptr, *drop_ = nullptr, *scan_ = nullptr;
  bool ok_ = false;
};

class Lmdb final : public Engine {
 public:
  explicit Lmdb(const std::string& folder) {
    if (mdb_env_create(&env_) != 0) return;
    mdb_env_set_mapsize(env_, size_t{16} << 30);
    if (mdb_env_open(env_, folder.c_str(), MDB_NOSYNC | MDB_NORDAHEAD, 0600) != 0) return;
    MDB_txn* txn = nullptr;
    ok_ = mdb_txn_begin(env_, nullptr, 0, &txn) == 0 && mdb_dbi_open(txn, nullptr, 0, &dbi_) == 0 &&
          mdb_txn_commit(txn) == 0;
  }
  ~Lmdb() override { mdb_env_close(env_); }
  bool ok() const { return ok_; }

  bool Commit(const std::vector<Put>& puts, const std::string& from, const std::string& to) override {
    MDB_txn* txn = nullptr;
    int code = mdb_txn_begin(env_, nullptr, 0, &txn);
    if (code != 0) return Fail(code);
    for (const Put& put : puts) {
      MDB_val key = Value(put.first), value = Value(put.second);
      if (code == 0) code = mdb_put(txn, dbi_, &key, &value, 0);
    }
    if (code == 0 && !from.empty()) code = Drop(txn, from, to);
    if (code != 0) {
      mdb_txn_abort(txn);
      return Fail(code);
    }
    code = mdb_txn_commit(txn);
    return code == 0 || Fail(code);
  }
  void Sync() override { mdb_env_sync(env_, 1); }
  bool Scan(const std::string& from, const std::string& to,
            const std::function<void(std::string_view, std::string_view)>& each) override {
    MDB_txn* txn = nullptr;
    MDB_cursor* cursor = nullptr;
    int code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
    if (code != 0) return false;
    code = mdb_cursor_open(txn, dbi_, &cursor);
    MDB_val key = Value(from), value;
    for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); code == 0;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
      const std::string_view k(static_cast<char*>(key.mv_data), key.mv_size);
      if (k >= to) break;
      each(k, {static_cast<char*>(value.mv_data), value.mv_size});
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return code == 0 || code == MDB_NOTFOUND;
  }

 private:
  static MDB_val Value(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
  static bool Fail(int code) {
    printf("commit: %s\n", mdb_strerror(code));
    return false;
  }
  int Drop(MDB_txn* txn, const std::string& from, const std::string& to) {
    MDB_cursor* cursor = nullptr;
    int code = mdb_cursor_open(txn, dbi_, &cursor);
    MDB_val key = Value(from), value;
    while (code == 0 && (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)) == 0) {
      if (std::string_view(static_cast<char*>(key.mv_data), key.mv_size) >= to) break;
      code = mdb_cursor_del(cursor, 0);
      key = Value(from);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
  }

  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  bool ok_ = false;
};

class Rocks final : public Engine {
 public:
  Rocks(const std::string& folder, bool blobs) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.write_buffer_size = 32 << 20;
    options.max_write_buffer_number = 3;
    options.max_background_jobs = 2;
    options.target_file_size_base = 32 << 20;
    options.max_bytes_for_level_base = 512 << 20;
    options.level0_file_num_compaction_trigger = 8;
    options.enable_blob_files = blobs;  // a batch is moved once, not once a level
    options.min_blob_size = 4 << 10;
    options.blob_file_size = 64 << 20;
    options.enable_blob_garbage_collection = true;
    options.keep_log_file_num = 2;
    options.max_open_files = 200;
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(8 << 20);
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* db = nullptr;
    rocksdb::Status status = rocksdb::DB::Open(options, folder, &db);
    // What is whole in a damaged folder is found again; what is not is gone.
    if (!status.ok() && rocksdb::RepairDB(folder, options).ok()) status = rocksdb::DB::Open(options, folder, &db);
    if (!status.ok()) printf("open: %s\n", status.ToString().c_str());
    db_.reset(db);
  }
  bool ok() const { return db_ != nullptr; }

  bool Commit(const std::vector<Put>& puts, const std::string& from, const std::string& to) override {
    rocksdb::WriteBatch batch;
    for (const Put& put : puts) batch.Put(put.first, rocksdb::Slice(put.second.data(), put.second.size()));
    if (!from.empty()) batch.DeleteRange(from, to);
    const rocksdb::Status status = db_->Write({}, &batch);
    if (!status.ok()) printf("commit: %s\n", status.ToString().c_str());
    if (!status.ok()) db_->Resume();  // nothing is written otherwise until it is opened anew
    return status.ok();
  }
  void Sync() override { db_->SyncWAL(); }
  bool Scan(const std::string& from, const std::string& to,
            const std::function<void(std::string_view, std::string_view)>& each) override {
    rocksdb::ReadOptions options;
    const rocksdb::Slice end(to);
    options.iterate_upper_bound = &end;
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
    for (it->Seek(from); it->Valid(); it->Next()) {
      each({it->key().data(), it->key().size()}, {it->value().data(), it->value().size()});
    }
    return it->status().ok();
  }
  void GiveBack() override {
    rocksdb::CompactRangeOptions options;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    options.blob_garbage_collection_policy = rocksdb::BlobGarbageCollectionPolicy::kForce;
    options.blob_garbage_collection_age_cutoff = 1.0;
    db_->CompactRange(options, nullptr, nullptr);
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
};

template <typename E, typename... Args>
std::unique_ptr<Engine> Make(Args... args) {
  auto engine = std::make_unique<E>(args...);
  if (!engine->ok()) return nullptr;
  return engine;
}

std::unique_ptr<Engine> Open(std::string_view name, const std::string& folder) {
  fs::create_directories(folder);
  if (name == "sqlite") return Make<Sqlite>(folder, "NORMAL", "16384");
  if (name == "sqlite-4k") return Make<Sqlite>(folder, "NORMAL", "4096");
  if (name == "sqlite-full") return Make<Sqlite>(folder, "FULL", "16384");
  if (name == "lmdb") return Make<Lmdb>(folder);
  return Make<Rocks>(folder, name == "rocksdb-blobs");
}

// Random bytes whose first eight say their key.
class Contents {
 public:
  Contents() : bytes_(64 << 20, '\0') {
    std::mt19937_64 random(1);
    for (size_t i = 0; i + 8 <= bytes_.size(); i += 8) {
      const uint64_t word = random();
      std::memcpy(&bytes_[i], &word, 8);
    }
  }
  std::string_view Of(size_t number, size_t size) const {
    const size_t room = bytes_.size() - size;
    return std::string_view(bytes_).substr(number * 7919 % room, size);
  }

 private:
  std::string bytes_;
};

uint64_t Number(std::string_view key) {
  uint64_t number = 0;
  for (const char c : key.substr(5)) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

// The place in Contents is a function of the key.
size_t PlaceOf(std::string_view key) { return std::hash<std::string_view>()(key) % 100000; }

size_t FolderBytes(const std::string& folder) {
  size_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    struct stat info {};
    if (stat(entry.path().c_str(), &info) == 0) bytes += static_cast<size_t>(info.st_blocks) * 512;
  }
  return bytes;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double WrittenMiB() {
  std::ifstream io("/proc/self/io");
  for (std::string word; io >> word;) {
    double bytes = 0;
    if (word == "write_bytes:" && io >> bytes) return bytes / (1 << 20);
  }
  return 0;
}

struct Load {
  Engine* engine;
  const Contents* contents;
  int jobs;
  int per_commit;  // reports
  uint64_t commit = 0, dropped = 0, reports = 0;
  std::vector<int> open = std::vector<int>(static_cast<size_t>(jobs), 0);  // steps not yet in a batch
  std::vector<uint64_t> blocks = std::vector<uint64_t>(static_cast<size_t>(jobs), 0);
  std::vector<uint64_t> since = std::vector<uint64_t>(static_cast<size_t>(jobs), 0);  // commit of the first open step

  bool Step() {
    std::vector<Put> puts;
    const auto put = [&](std::string key, size_t size) {
      const std::string_view value = contents->Of(PlaceOf(key), size);
      puts.emplace_back(std::move(key), value);
    };
    put(Key(0, 0, commit), kJournalBytesPerReport * static_cast<size_t>(per_commit));
    const int each = std::max(1, per_commit / jobs);
    for (int i = 0; i < per_commit / each; ++i) {
      const size_t job =
          (commit * static_cast<size_t>(per_commit / each) + static_cast<size_t>(i)) % static_cast<size_t>(jobs);
      if (open[job] == 0) since[job] = commit;
      open[job] += each;
      if (open[job] < kBatchSteps) continue;
      put(Key(static_cast<uint32_t>(job) + 1, 1, blocks[job]), kBatchBytes);
      put(Key(static_cast<uint32_t>(job) + 1, 2, blocks[job]++), kTierBytes);
      open[job] = 0;
      since[job] = commit + 1;
    }
    std::string from, to;
    if (commit % 64 == 63) {
      const uint64_t oldest = *std::min_element(since.begin(), since.end());
      if (oldest > dropped) {
        from = Key(0, 0, dropped);
        to = Key(0, 0, oldest);
        dropped = oldest;
      }
    }
    if (!engine->Commit(puts, from, to)) return false;
    ++commit;
    reports += static_cast<uint64_t>(per_commit);
    return true;
  }
};

// Reads the batches of a job; returns milliseconds a thousand of them.
double ReadJob(Engine& engine, uint32_t job, size_t* count) {
  const double start = Now();
  size_t bytes = 0;
  *count = 0;
  engine.Scan(Key(job, 1, 0), Key(job, 1, 1000), [&](std::string_view, std::string_view value) {
    for (size_t i = 0; i < value.size(); i += 64) bytes += static_cast<uint8_t>(value[i]);
    ++*count;
  });
  if (bytes == 1) printf(" ");
  return (Now() - start) * 1e3 / static_cast<double>(std::max<size_t>(*count, 1)) * 1000;
}

void DropCaches() {
  sync();
  std::ofstream("/proc/sys/vm/drop_caches") << "1";
}

int Write(const std::string& name, const std::string& folder, int jobs, uint64_t reports) {
  fs::remove_all(folder);
  const Contents contents;
  auto engine = Open(name, folder);
  // 64 at a time is what a trainer has on its way; many jobs share a commit.
  Load load{engine.get(), &contents, jobs, jobs == 1 ? 64 : jobs == 30 ? 480 : 1200};
  std::vector<double> latencies;
  const double start = Now(), cpu = CpuSeconds();
  uint64_t next_sync = 50000;
  double syncs = 0;
  while (load.reports < reports) {
    const double before = Now();
    if (!load.Step()) return 1;
    if (load.reports >= next_sync) {  // each second at 50,000 reports a second
      const double sync_start = Now();
      engine->Sync();
      syncs += Now() - sync_start;
      next_sync += 50000;
    }
    latencies.push_back(Now() - before);
  }
  const double wall = Now() - start, used = CpuSeconds() - cpu;
  std::sort(latencies.begin(), latencies.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double ideal = static_cast<double>(reports) / kBatchSteps * (kBatchBytes + kTierBytes) / (1 << 20);
  printf(
      "%-12s jobs %3d: %5.0f k reports/s, cpu %5.2f us/report, commit p50 %.2f p99 %.2f p99.9 %.2f max %.1f ms, sync "
      "mean %.0f ms, "
      "written %.1fx, memory %ld MiB",
      name.c_str(), jobs, static_cast<double>(reports) / wall / 1e3, used / static_cast<double>(reports) * 1e6,
      latencies[latencies.size() / 2] * 1e3, latencies[latencies.size() * 99 / 100] * 1e3,
      latencies[latencies.size() * 999 / 1000] * 1e3, latencies.back() * 1e3,
      syncs / (static_cast<double>(reports) / 50000) * 1e3, WrittenMiB() / ideal, (usage.ru_maxrss >> 10) - 64);
  engine.reset();
  engine = Open(name, folder);
  printf(", on disk %.2fx", static_cast<double>(FolderBytes(folder)) / (1 << 20) / ideal);
  DropCaches();
  size_t count = 0;
  const double cold = ReadJob(*engine, 1, &count);
  const double warm = ReadJob(*engine, 1, &count);
  printf(", read %zu batches cold %.0f warm %.0f us each", count, cold, warm);
  // Retention: the older half of all batches.
  const double delete_start = Now();
  for (int job = 0; job < jobs; ++job) {
    engine->Commit({}, Key(static_cast<uint32_t>(job) + 1, 1, 0),
                   Key(static_cast<uint32_t>(job) + 1, 1, load.blocks[static_cast<size_t>(job)] / 2));
    if (job % 16 == 15) engine->Sync();
  }
  engine->Sync();
  const double deleted = Now() - delete_start;
  const double back_start = Now();
  engine->GiveBack();
  const double back = Now() - back_start;
  engine.reset();
  printf(", half deleted in %.2f s, given back in %.2f s: %.2fx\n", deleted, back,
         static_cast<double>(FolderBytes(folder)) / (1 << 20) / ideal);
  return 0;
}

// The child commits and says so; it is killed at a random moment. All that it said must be there.
int Kill(const std::string& name, const std::string& folder, int rounds) {
  const Contents contents;
  std::mt19937 random(7);
  int lost = 0, unopened = 0;
  for (int round = 0; round < rounds; ++round) {
    fs::remove_all(folder);
    std::array<int, 2> fds{};
    if (pipe(fds.data()) != 0) return 1;
    const pid_t child = fork();
    if (child == 0) {
      auto engine = Open(name, folder);
      Load load{engine.get(), &contents, 30, 480};
      for (;;) {
        load.Step();
        if (load.commit % 50 == 0) engine->Sync();
        if (write(fds[1], &load.commit, 8) != 8) _exit(1);
      }
    }
    close(fds[1]);
    uint64_t said = 0, word = 0;
    const uint64_t enough = 100 + random() % 1000;
    while (said < enough && read(fds[0], &word, 8) == 8) said = word;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(fds[0], &word, 8) == 8) said = word;
    close(fds[0]);
    auto engine = Open(name, folder);
    if (engine == nullptr) {
      ++unopened;
      continue;
    }
    uint64_t last = 0;
    engine->Scan(Key(0, 0, 0), Key(0, 1, 0), [&](std::string_view key, std::string_view) { last = Number(key) + 1; });
    lost += last < said ? 1 : 0;
  }
  printf("%-12s kill -9: %d rounds, %d lost what was acknowledged, %d did not open\n", name.c_str(), rounds, lost,
         unopened);
  return 0;
}

// One bit of one file is turned; then all is read. What comes back as it was is harmless.
int Flip(const std::string& name, const std::string& folder, int rounds) {
  const Contents contents;
  const std::string whole = folder + "/whole", copy = folder + "/copy";
  fs::remove_all(folder);
  size_t total = 0;
  {
    auto engine = Open(name, whole);
    Load load{engine.get(), &contents, 4, 240};
    for (int i = 0; i < 64; ++i) load.Step();
    engine->Sync();
    engine->Scan(Key(0, 0, 0), Key(99, 0, 0), [&](std::string_view, std::string_view) { ++total; });
  }
  std::mt19937_64 random(3);
  int unopened = 0, told = 0, silent_wrong = 0, silent_missing = 0, harmless = 0;
  size_t lost_rows = 0;
  for (int round = 0; round < rounds; ++round) {
    fs::remove_all(copy);
    fs::copy(whole, copy, fs::copy_options::recursive);
    std::vector<std::pair<fs::path, uint64_t>> files;
    uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(copy)) {
      const std::string file = entry.path().filename();
      if (!entry.is_regular_file() || file.starts_with("LOG") || file == "lock.mdb") continue;
      files.emplace_back(entry.path(), entry.file_size());
      bytes += entry.file_size();
    }
    // Half of the flips go anywhere, half into the first 64 KiB of some file, where what all depends on lies.
    const auto& [path, size] = files[random() % files.size()];
    uint64_t place = random() % std::max<uint64_t>(1, round % 2 == 0 ? size : std::min<uint64_t>(size, 64 << 10));
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(place));
    char c = 0;
    file.get(c);
    file.seekp(static_cast<std::streamoff>(place));
    file.put(static_cast<char>(c ^ 1 << random() % 8));
    file.close();
    fflush(stdout);
    const pid_t child = fork();  // it may crash
    if (child == 0) {
      if (freopen("/dev/null", "w", stdout) == nullptr) _exit(9);
      auto engine = Open(name, copy);
      if (engine == nullptr) _exit(1);
      size_t seen = 0, wrong = 0;
      const bool good = engine->Scan(Key(0, 0, 0), Key(99, 0, 0), [&](std::string_view key, std::string_view value) {
        ++seen;
        if (value != contents.Of(PlaceOf(key), value.size()) || value.empty()) ++wrong;
      });
      if (wrong > 0) _exit(3);
      if (!good) _exit(2);
      _exit(seen < total ? 4 : 0);
    }
    int code = 0;
    waitpid(child, &code, 0);
    switch (WIFEXITED(code) ? WEXITSTATUS(code) : 9) {
      case 0:
        ++harmless;
        break;
      case 1:
        ++unopened;
        break;
      case 2:
        ++told;
        break;
      case 3:
        ++silent_wrong;
        break;
      case 4:
        ++silent_missing;
        break;
      default:
        ++lost_rows;
    }
  }
  printf(
      "%-12s bit flips: %d: harmless %d, did not open %d, told while reading %d, other bytes without a word %d, rows "
      "missing "
      "without a word %d, crashed %zu\n",
      name.c_str(), rounds, harmless, unopened, told, silent_wrong, silent_missing, lost_rows);
  return 0;
}

int Full(const std::string& name, const std::string& folder) {
  const Contents contents;
  auto engine = Open(name, folder + "/db");
  Load load{engine.get(), &contents, 4, 240};
  while (load.Step()) {
    if (load.commit % 20 == 0) engine->Sync();
  }
  printf("%-12s full after %lu commits; ", name.c_str(), static_cast<unsigned long>(load.commit));
  size_t rows = 0;
  const bool good = engine->Scan(Key(1, 0, 0), Key(99, 0, 0), [&](std::string_view, std::string_view) { ++rows; });
  printf("reads %s (%zu rows); ", good ? "go on" : "fail", rows);
  fs::remove(folder + "/ballast");
  const double start = Now();
  bool healed = false;
  while (!healed && Now() - start < 20) healed = load.Step();
  printf("heals %s after %.1f s\n", healed ? "by itself" : "NOT", Now() - start);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string name = argv[1], folder = argv[2], what = argv[3];
  const auto number = [&](int i, int otherwise) { return argc > i ? atoi(argv[i]) : otherwise; };
  if (what == "write") return Write(name, folder, number(4, 1), static_cast<uint64_t>(number(5, 3000000)));
  if (what == "kill") return Kill(name, folder, number(4, 20));
  if (what == "flip") return Flip(name, folder, number(4, 200));
  return Full(name, folder);
}
