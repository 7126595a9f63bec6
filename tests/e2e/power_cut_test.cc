// The power fails at random moments of builds: what the disk has then is all that the next
// coordinator and worker find. No name without right bytes, no wrong hit, and the build succeeds.
//
// The disk is a loop device with ext4 on it. "Then" is a copy of the file behind the device that no
// write came into: programs are stopped, and the copy is taken again if the kernel's own writing
// went on meanwhile (the device's counters say so). It holds what the device had completed, in
// order, as a disk does that was told to flush; what was only in the page cache is gone, and ext4
// replays its journal. The programs see another boot id after it, as after a real start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/clock.h"
#include "base/digest_proto.h"
#include "cas/disk_blob_store.h"
#include "cas/rocksdb_index.h"
#include "cas/small_blob_store.h"
#include "proto/farm/v1/record.pb.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/image_text.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr char kDiskSize[] = "256M";
constexpr int kCopyAttemptsMax = 500;
constexpr int64_t kLogBytesMax = 256 << 20;

class NullSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
};

// A file system on a disk of its own.
class Disk {
 public:
  Disk(std::string image, std::string mount_point)
      : image_(std::move(image)), mount_point_(std::move(mount_point)) {}
  ~Disk() { Unplug(); }

  static CommandResult Format(const std::string& image) {
    return RunShell(absl::StrCat("truncate -s ", kDiskSize, " ", image,
                                 " && mkfs.ext4 -q -F -E lazy_itable_init=0 ", image));
  }
  // `commit_seconds` is how long ext4 may keep changes that nobody asked it to write.
  CommandResult Mount(int commit_seconds) {
    CommandResult loop = RunShell("losetup --find --show " + image_);
    if (loop.exit_code != 0) return loop;
    device_ = loop.out.substr(0, loop.out.find('\n'));
    return RunShell(absl::StrCat("mkdir -p ", mount_point_, " && mount -o commit=", commit_seconds,
                                 " ", device_, " ", mount_point_));
  }
  // As it is now, with nobody's write half in it. False if the disk never came to rest.
  bool Copy(const std::string& to) const {
    for (int i = 0; i < kCopyAttemptsMax; ++i) {
      const std::string before = Counters();
      RunShell(absl::StrCat("cp --sparse=always --reflink=never ", image_, " ", to));
      if (!before.empty() && Counters() == before) return true;
    }
    return false;
  }
  void Unplug() {
    if (device_.empty()) return;
    EXPECT_TRUE(WaitUntil([&] { return RunShell("umount " + mount_point_).exit_code == 0; }))
        << "something still uses the disk: "
        << RunShell("grep -l " + mount_point_ + " /proc/[0-9]*/mounts").all();
    RunShell("losetup -d " + device_);
    device_.clear();
  }
  const std::string& image() const { return image_; }

 private:
  // Of the writes done so far; "" while some are under way.
  std::string Counters() const {
    const std::string block = "/sys/block/" + device_.substr(device_.rfind('/') + 1);
    const auto words = [&](const char* name) -> std::vector<std::string> {
      std::string text;
      std::getline(std::ifstream(block + name), text);
      return absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    };
    const std::vector<std::string> in_flight = words("/inflight");  // reads, writes
    const std::vector<std::string> stat = words("/stat");
    if (in_flight.size() < 2 || in_flight[1] != "0" || stat.size() < 15) return "";
    return absl::StrCat(stat[4], " ", stat[6], " ", stat[11], " ", stat[13]);  // writes, discards
  }

  const std::string image_;
  const std::string mount_point_;
  std::string device_;
};

class PowerCutTest : public testing::Test {
 protected:
  void SetUp() override {
    disk_ = std::make_unique<Disk>(dir_ / "disk0", mount_point_);
    ASSERT_EQ(Disk::Format(dir_ / "disk0").exit_code, 0);
    if (const CommandResult mounted = disk_->Mount(5); mounted.exit_code != 0) {
      GTEST_SKIP() << "no loop device to be had: " << mounted.all();
    }
    StartFarm();
    ASSERT_EQ(Farm({"import", BusyboxRootTar(), "base:1"}).exit_code, 0);
    RunShell("sync -f " + mount_point_);
    cold_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  }
  void TearDown() override {
    worker_.Kill(SIGKILL);
    coordinator_.Kill(SIGKILL);
    if (!HasFailure()) return;
    for (const char* log : {"coordinator.log", "worker.log"}) {
      std::fprintf(stderr, "--- %s\n%s\n", log,
                   ReadFile(dir_ / log, kLogBytesMax).value_or("").c_str());
    }
  }

  // After another start of the machine, as far as a program can tell.
  void StartFarm() {
    const std::string boot_id = dir_.Write(
        "boot_id", absl::StrCat("00000000-0000-0000-0000-", 100'000'000'000 + ++starts_, "\n"));
    const auto booted = [&](std::vector<std::string> command) {
      std::vector<std::string> args = {
          "unshare", "--mount", "--propagation=slave",
          "sh",      "-c",      "mount --bind $0 /proc/sys/kernel/random/boot_id && exec \"$@\"",
          boot_id};
      args.insert(args.end(), command.begin(), command.end());
      return args;
    };
    coordinator_ = BackgroundProcess(booted({ProgramPath("farm-coordinator"), "--listen", address(),
                                             "--state-dir", mount_point_ + "/c"}),
                                     dir_ / "coordinator.log");
    ASSERT_TRUE(WaitUntil([&] { return fs::exists(mount_point_ + "/c/cas"); }));
    worker_ =
        BackgroundProcess(booted({ProgramPath("farm-worker"), "--config",
                                  dir_.Write("worker.yaml", "networks: [none]\n"), "--coordinator",
                                  address(), "--name", "w", "--state-dir", mount_point_ + "/w",
                                  "--shared-blob-dir", mount_point_ + "/c/cas"}),
                          dir_ / "worker.log");
    ASSERT_TRUE(WaitUntil([&] {
      return coordinator_.running() && worker_.running() &&
             Farm({"workers", "--format", "{{.Name}}"}).out == "w\n";
    })) << Farm({"workers"}).all();
  }

  // What the next start finds is what the disk has now.
  void CutPower(int commit_seconds) {
    const std::string survivor = dir_ / absl::StrCat("disk", starts_);
    for (const BackgroundProcess* process : {&coordinator_, &worker_}) {
      kill(process->pid(), SIGSTOP);
    }
    ASSERT_TRUE(disk_->Copy(survivor)) << "the disk is never at rest";
    worker_.Kill(SIGKILL);
    coordinator_.Kill(SIGKILL);
    disk_->Unplug();
    fs::remove(disk_->image());
    disk_ = std::make_unique<Disk>(survivor, mount_point_);
    const CommandResult mounted = disk_->Mount(commit_seconds);
    ASSERT_EQ(mounted.exit_code, 0) << mounted.all();
  }

  std::string address() const { return absl::StrCat("unix:", dir_.path(), "/sock"); }
  CommandOptions Client() const {
    return {.env = {{"FARM_ADDR", address()}, {"HOME", dir_.path()}}, .timeout = absl::Minutes(1)};
  }
  CommandResult Farm(std::vector<std::string> args) const {
    args.insert(args.begin(), ProgramPath("farm"));
    return RunCommand(args, Client());
  }

  std::string Context(const std::string& id) {
    dir_.Write(id + "/src/a", "a " + id);
    dir_.Write(id + "/src/large", std::string(200'000, id.back()));
    dir_.Write(id + "/last", "last " + id);
    dir_.Write(
        id + "/Dockerfile",
        absl::StrReplaceAll(
            "FROM base:1 AS a\n"
            "COPY src /src\n"
            "RUN cat /src/* > /a; echo @ID@ a\n"
            "RUN head -c 300000 /dev/zero > /zero; echo @ID@ >> /zero; mkdir /e; echo > /e/mpty\n"
            "FROM base:1 AS b\n"
            "RUN i=0; while [ $i -lt 200 ]; do echo @ID@ $i > /tmp/$i; i=$((i+1)); done\n"
            "RUN mkdir /d && ln /tmp/7 /d/hard && ln -s 7 /d/soft && chown 5:6 /d; sleep 0.1\n"
            "FROM base:1\n"
            "COPY --from=a /a /zero /e /got/\n"
            "COPY --from=b /d /d\n"
            "RUN cat /got/a /d/hard > /sum\n"
            "COPY last /last\n",
            {{"@ID@", id}}));
    // So that only what a step does now has a time of today.
    RunShell(absl::StrCat("find ", dir_ / id, " -exec touch -d '2024-01-02 03:04:05 UTC' {} +"));
    return dir_ / id;
  }

  // How many blobs the index names; each of them must be there, and be what it is called.
  int CheckNames() {
    SystemClock clock;
    const auto index = RocksDbIndex::Open(mount_point_ + "/c/index");
    EXPECT_TRUE(index.ok()) << index.status();
    auto disk = DiskBlobStore::Open(clock, {.dir = mount_point_ + "/c/cas"});
    EXPECT_TRUE(disk.ok()) << disk.status();
    if (!index.ok() || !disk.ok()) return 0;
    SmallBlobStore blobs(clock, **index, **disk);
    int names = 0;
    const auto check = [&](const char* table, const v1::Digest& proto) {
      const auto digest = DigestFromProto(proto);
      ASSERT_TRUE(digest.ok()) << table << ": " << digest.status();
      NullSink sink;
      const absl::Status status = blobs.Get(*digest, 0, sink);
      EXPECT_TRUE(status.ok()) << table << ": " << status;
      ++names;
    };
    const auto check_result = [&](const char* table, const v1::StepResult& result) {
      if (result.has_blob()) check(table, result.blob().digest());
      if (!result.has_layer()) return;
      check(table, result.layer().table());
      check(table, result.layer().form().digest());
    };
    const auto scan = [&](IndexTable table, auto record, const auto& visit) {
      const absl::Status status =
          (*index)->Scan(table, "", "", [&](absl::string_view, absl::string_view value) {
            EXPECT_TRUE(record.ParseFromArray(value.data(), static_cast<int>(value.size())));
            visit(record);
            return true;
          });
      EXPECT_TRUE(status.ok()) << status;
    };
    scan(IndexTable::kAction, v1::ActionRecord(),
         [&](const v1::ActionRecord& record) { check_result("action", record.result()); });
    scan(IndexTable::kAdoption, v1::StepResult(),
         [&](const v1::StepResult& record) { check_result("adoption", record); });
    scan(IndexTable::kLayer, v1::LayerRecord(), [&](const v1::LayerRecord& record) {
      check("layer", record.table());
      for (const v1::Descriptor& form : record.forms()) check("layer", form.digest());
    });
    scan(IndexTable::kImage, v1::ImageRecord(), [&](const v1::ImageRecord& record) {
      check("image", record.manifest());
      check("image", record.config());
    });
    scan(IndexTable::kTag, v1::TagRecord(),
         [&](const v1::TagRecord& record) { check("tag", record.manifest()); });
    return names;
  }

  // The build succeeds, with the image that a farm makes whose power never failed. `ran` gets the
  // instructions of the steps that ran, in the plan's order.
  void ExpectRightImage(const std::string& context, std::vector<std::string>* ran = nullptr) {
    const CommandResult warm =
        Farm({"build", "--progress=rawjson", "-t", "kept", "-o", "type=image", "-o",
              absl::StrCat("type=oci,dest=", dir_ / "warm"), context});
    ASSERT_EQ(warm.exit_code, 0) << warm.all();
    for (const StepReport& step : ReadSteps(warm.err)) {
      if (ran != nullptr && step.ran) ran->push_back(step.instruction);
    }
    cold_.FarmOk({"build", "-o", absl::StrCat("type=oci,dest=", dir_ / "cold"), context});
    ASSERT_EQ(DescribeImage(dir_ / "warm", Times::kCompared),
              DescribeImage(dir_ / "cold", Times::kCompared));
  }

  ScratchDir dir_;
  const std::string mount_point_ = dir_ / "mnt";
  std::unique_ptr<Disk> disk_;
  int starts_ = 0;
  BackgroundProcess coordinator_;
  BackgroundProcess worker_;
  LocalFarmUnderTest cold_;
};

TEST_F(PowerCutTest, AfterACutNamesAreRightAndTheBuildSucceeds) {
  const int moments = MomentsOfThisRun(3);
  std::mt19937 random(SeedOfThisRun());
  const absl::Time start = absl::Now();
  const CommandResult measured = Farm({"build", Context("measure")});
  ASSERT_EQ(measured.exit_code, 0) << measured.all();
  const absl::Duration whole = absl::Now() - start;
  int names = 0, cut = 0;
  for (int i = 0; i < moments && !HasFailure(); ++i) {
    const std::string id = absl::StrCat("moment", i);
    SCOPED_TRACE(id);
    const std::string context = Context(id);
    BackgroundProcess build({ProgramPath("farm"), "build", context}, dir_ / "build.log", Client());
    // One in each part of a build, and a little after its end.
    absl::SleepFor(1.2 * whole * (i + std::uniform_real_distribution<>(0, 1)(random)) / moments);
    cut += build.running();
    CutPower(random() % 2 == 0 ? 1 : 5);
    build.Kill(SIGKILL);
    names = CheckNames();
    StartFarm();
    ExpectRightImage(context);
  }
  EXPECT_GT(cut, 0);
  EXPECT_GT(names, 0);
  std::printf("%d cuts, %d in the middle of a build; the index named %d blobs after the last\n",
              moments, cut, names);
}

TEST_F(PowerCutTest, ADamagedBlobIsFoundAndItsStepRunsAgain) {
  const std::string context = Context("damage");
  ExpectRightImage(context);
  worker_.Stop();
  coordinator_.Stop();
  // The worker has nothing unpacked, and of each large layer that a step made one byte is another.
  // (The base, of more than a megabyte, comes from no step: nobody could make it again.)
  ASSERT_EQ(
      RunShell(
          absl::StrCat("cd ", mount_point_,
                       " && rm -r w/layers && for file in "
                       "$(find c/cas/blobs -type f -size +200k -size -1000k); do chmod u+w $file; "
                       "printf X | dd of=$file bs=1 seek=70000 conv=notrunc status=none; "
                       "done"))
          .exit_code,
      0);
  StartFarm();
  RunShell("echo RUN cat /got/zero > " + (dir_ / "more") + "; cat " + (dir_ / "more") + " >> " +
           context + "/Dockerfile");
  std::vector<std::string> ran;
  ExpectRightImage(context, &ran);
  // The three layers above 200 KiB, and what stands on them, since what is made again has other
  // times: all but the first two.
  using testing::StartsWith;
  EXPECT_THAT(ran, testing::ElementsAre(StartsWith("RUN head -c 300000"), StartsWith("RUN i=0"),
                                        StartsWith("RUN mkdir /d"), StartsWith("COPY --from=a"),
                                        StartsWith("COPY --from=b"), StartsWith("RUN cat /got/a"),
                                        StartsWith("COPY last"), "RUN cat /got/zero"));
  EXPECT_FALSE(fs::is_empty(mount_point_ + "/c/cas/quarantine"));
}

}  // namespace
}  // namespace farm
