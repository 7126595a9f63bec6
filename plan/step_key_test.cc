#include "plan/step_key.h"

#include <functional>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kHash[] = "1111111111111111111111111111111111111111111111111111111111111111";

Digest Parent() { return DigestOf("parent"); }

v1::StepIdentity RunStep() {
  v1::StepIdentity identity;
  identity.mutable_platform()->set_os("linux");
  identity.mutable_platform()->set_architecture("amd64");
  v1::RunOperation& run = *identity.mutable_run();
  for (const char* arg : {"/bin/sh", "-c", "make"}) run.add_args(arg);
  run.add_env("PATH=/bin");
  run.add_env("CC=gcc");
  run.set_cwd("/src");
  run.set_user("build");
  return identity;
}

v1::StepIdentity CopyStep() {
  v1::StepIdentity identity = RunStep();
  v1::CopyOperation& copy = *identity.mutable_copy();
  copy.set_dest("/src/");
  v1::CopyItem& item = *copy.add_items();
  item.set_path("go.mod");
  item.set_name("go.mod");
  item.mutable_content()->set_hash(kHash);
  return identity;
}

v1::StepIdentity MakeDirectoryStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_make_directory()->set_path("/src");
  return identity;
}

v1::StepIdentity UnpackStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_unpack()->mutable_blob()->set_media_type("application/x-tar");
  identity.mutable_unpack()->mutable_blob()->mutable_digest()->set_hash(kHash);
  return identity;
}

v1::StepIdentity CompressStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_compress()->set_diff_id(absl::StrCat("sha256:", kHash));
  identity.mutable_compress()->set_compression("gzip-isal-1");
  return identity;
}

v1::StepIdentity PushStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_push()->mutable_blob()->mutable_digest()->set_hash(kHash);
  identity.mutable_push()->set_repository("registry.example.com/app");
  return identity;
}

v1::StepIdentity RewriteTimesStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_rewrite_times()->set_diff_id("sha256:aa");
  identity.mutable_rewrite_times()->set_latest(1);
  return identity;
}

v1::StepIdentity FlattenStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_flatten()->add_diff_ids("sha256:aa");
  identity.mutable_flatten()->add_diff_ids("sha256:bb");
  return identity;
}

v1::StepIdentity FetchFileStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_fetch_file()->set_url("https://example.com/f");
  identity.mutable_fetch_file()->set_file_name("f");
  return identity;
}

v1::StepIdentity FetchKnownFileStep() {
  v1::StepIdentity identity = FetchFileStep();
  identity.mutable_fetch_file()->set_checksum(absl::StrCat("sha256:", kHash));
  return identity;
}

v1::StepIdentity ResolveGitStep() {
  v1::StepIdentity identity = RunStep();
  identity.mutable_resolve_git()->set_remote("https://example.com/r.git");
  identity.mutable_resolve_git()->set_ref("main");
  return identity;
}

v1::StepIdentity FetchGitStep() {
  v1::StepIdentity identity = RunStep();
  v1::FetchGitOperation& fetch = *identity.mutable_fetch_git();
  fetch.set_remote("https://example.com/r.git");
  fetch.set_commit(std::string(40, '1'));
  fetch.set_ref("refs/heads/main");
  fetch.set_subdir("docs");
  return identity;
}

v1::StepIdentity FetchGitDirStep() {
  v1::StepIdentity identity = FetchGitStep();
  identity.mutable_fetch_git()->set_keep_git_dir(true);
  return identity;
}

std::string Key(const v1::StepIdentity& identity) {
  return ComputeStepKey(identity, Parent()).digest.hex();
}

std::vector<std::string> Explain(const v1::StepIdentity& now, const v1::StepIdentity& before) {
  return ExplainKey(ComputeStepKey(now, Parent()).parts, ComputeStepKey(before, Parent()).parts);
}

// Computed outside of this program, from docs/formats/step-key.md.
TEST(StepKeyTest, KeysAreTheRecordedOnes) {
  EXPECT_EQ(Key(RunStep()), "70d0199edeb7e170dddcdd2b43fd98831969d8d8aafc16d153c00bdcc8c1d151");
  EXPECT_EQ(ComputeStepKey(RunStep(), Digest()).digest.hex(),
            "8d372df5123002b2444d786fff57e89379d3c73cb78e6b485d3f595caac2c7c6");
  EXPECT_EQ(Key(CopyStep()), "99d51d52e8bceae9a206a8ff9c67c62a82e52b84c55575531b183a13cc53926b");
  EXPECT_EQ(Key(MakeDirectoryStep()),
            "c2b7cb06578779c3985d890287466317464b4af7acfda601714dd20d1b3e88a8");
  EXPECT_EQ(Key(UnpackStep()), "9d1bab27473c54655b90e65bbc5b1d02a26e5398211efc4a595ddbda6c4fd2ae");
  EXPECT_EQ(Key(CompressStep()),
            "4987cc5a6f7bc3897af9c0c7ec800af5cfd509dc6356e4c1600d0c0156093bfc");
  EXPECT_EQ(Key(PushStep()), "c35ab191433cff3fe50a8be9cc95a79f3a530d8af33a4a23a176b4a04068e7e3");
  EXPECT_EQ(Key(FlattenStep()), "f07eb5500f48ef01b8955be57c9e456dd2d4bfdd596875e888fea5d0fe01fa7d");
  const auto fetch_key = [](const v1::StepIdentity& identity) {
    return ComputeStepKey(identity, Digest()).digest.hex();
  };
  EXPECT_EQ(fetch_key(FetchFileStep()),
            "9651c4f738ba7cac5536b9f9428e39e5f2af507e82dd5b0aaa89338ba370b92c");
  EXPECT_EQ(fetch_key(FetchKnownFileStep()),
            "05273528696c84f14810d2216c19a39fcb44806e6b30b763d45471ad95134596");
  EXPECT_EQ(fetch_key(ResolveGitStep()),
            "3c5733f18a641a9b35bc6c673d35b7fd1f9827bd01a29e6beda0fcedd404a6d0");
  EXPECT_EQ(fetch_key(FetchGitStep()),
            "a329ac02474d338636c154d743625ffa8efdeac386df40ce501a488add72ad89");
  EXPECT_EQ(fetch_key(FetchGitDirStep()),
            "fd542e3f6258acbde8edb69f4cb4a75b095f1ca86c2558482b50ac8b066e66f1");
}

TEST(StepKeyTest, WhereKnownContentLiesIsInNoKey) {
  v1::StepIdentity file = FetchKnownFileStep();
  file.mutable_fetch_file()->set_url("https://example.com/elsewhere");
  EXPECT_EQ(Key(file), Key(FetchKnownFileStep()));
  v1::StepIdentity commit = FetchGitStep();
  commit.mutable_fetch_git()->set_remote("https://example.com/elsewhere.git");
  commit.mutable_fetch_git()->set_ref("refs/tags/v1");
  EXPECT_EQ(Key(commit), Key(FetchGitStep()));
}

TEST(StepKeyTest, PasswordsOfUrlsAreNotShown) {
  v1::StepIdentity file = FetchFileStep();
  file.mutable_fetch_file()->set_url("https://user:pass@example.com/f");
  EXPECT_EQ(ComputeStepKey(file, Digest()).parts[1].shown(), "https://xxxxx@example.com/f");
}

TEST(StepKeyTest, SizeIsZero) {
  EXPECT_EQ(ComputeStepKey(RunStep(), Parent()).digest.size_bytes(), 0);
}

struct FieldChange {
  const char* field;
  v1::StepIdentity (*base)();
  std::function<void(v1::StepIdentity&)> change;
};

TEST(StepKeyTest, EachFieldOfEachOperationChangesTheKey) {
  const FieldChange changes[] = {
      {"os", RunStep, [](auto& id) { id.mutable_platform()->set_os("windows"); }},
      {"architecture", RunStep, [](auto& id) { id.mutable_platform()->set_architecture("arm64"); }},
      {"variant", RunStep, [](auto& id) { id.mutable_platform()->set_variant("v2"); }},
      {"args", RunStep, [](auto& id) { id.mutable_run()->set_args(2, "make all"); }},
      {"more args", RunStep, [](auto& id) { id.mutable_run()->add_args(""); }},
      {"env value", RunStep, [](auto& id) { id.mutable_run()->set_env(1, "CC=clang"); }},
      {"env name", RunStep, [](auto& id) { id.mutable_run()->set_env(1, "CXX=gcc"); }},
      {"more env", RunStep, [](auto& id) { id.mutable_run()->add_env("A="); }},
      {"env order", RunStep, [](auto& id) { id.mutable_run()->mutable_env()->SwapElements(0, 1); }},
      {"cwd", RunStep, [](auto& id) { id.mutable_run()->set_cwd("/"); }},
      {"user", RunStep, [](auto& id) { id.mutable_run()->set_user(""); }},
      {"network", RunStep, [](auto& id) { id.mutable_run()->set_network(v1::NETWORK_MODE_NONE); }},
      {"dest", CopyStep, [](auto& id) { id.mutable_copy()->set_dest("/src"); }},
      {"chown", CopyStep, [](auto& id) { id.mutable_copy()->set_chown("1:1"); }},
      {"chmod", CopyStep, [](auto& id) { id.mutable_copy()->set_chmod("755"); }},
      {"no item", CopyStep, [](auto& id) { id.mutable_copy()->clear_items(); }},
      {"item twice", CopyStep,
       [](auto& id) { *id.mutable_copy()->add_items() = id.copy().items(0); }},
      {"item name", CopyStep,
       [](auto& id) { id.mutable_copy()->mutable_items(0)->set_name("go.sum"); }},
      {"item unpack", CopyStep,
       [](auto& id) { id.mutable_copy()->mutable_items(0)->set_unpack_archive(true); }},
      {"item content", CopyStep,
       [](auto& id) {
         id.mutable_copy()->mutable_items(0)->mutable_content()->set_hash(DigestOf("2").hex());
       }},
      {"directory", MakeDirectoryStep,
       [](auto& id) { id.mutable_make_directory()->set_path("/app"); }},
      {"directory's user", MakeDirectoryStep,
       [](auto& id) { id.mutable_make_directory()->set_user("build"); }},
      {"unpack media type", UnpackStep,
       [](auto& id) { id.mutable_unpack()->mutable_blob()->set_media_type("x"); }},
      {"unpack digest", UnpackStep,
       [](auto& id) { id.mutable_unpack()->mutable_blob()->mutable_digest()->set_hash("22"); }},
      {"unpack diffID", UnpackStep,
       [](auto& id) { id.mutable_unpack()->set_diff_id("sha256:22"); }},
      {"URL", FetchFileStep,
       [](auto& id) { id.mutable_fetch_file()->set_url("https://example.com/g"); }},
      {"file's name", FetchFileStep, [](auto& id) { id.mutable_fetch_file()->set_file_name("g"); }},
      {"file's checksum", FetchKnownFileStep,
       [](auto& id) { id.mutable_fetch_file()->set_checksum("sha256:22"); }},
      {"repository", ResolveGitStep,
       [](auto& id) { id.mutable_resolve_git()->set_remote("https://example.com/s.git"); }},
      {"reference", ResolveGitStep, [](auto& id) { id.mutable_resolve_git()->set_ref("side"); }},
      {"commit", FetchGitStep, [](auto& id) { id.mutable_fetch_git()->set_commit("22"); }},
      {"subdirectory", FetchGitStep, [](auto& id) { id.mutable_fetch_git()->set_subdir(""); }},
      {"submodules", FetchGitStep, [](auto& id) { id.mutable_fetch_git()->set_submodules(true); }},
      {"git directory", FetchGitStep,
       [](auto& id) { id.mutable_fetch_git()->set_keep_git_dir(true); }},
      {"git directory's repository", FetchGitDirStep,
       [](auto& id) { id.mutable_fetch_git()->set_remote("https://example.com/s.git"); }},
      {"git directory's reference", FetchGitDirStep,
       [](auto& id) { id.mutable_fetch_git()->set_ref("refs/tags/v1"); }},
      {"compress diffID", CompressStep,
       [](auto& id) { id.mutable_compress()->set_diff_id("sha256:22"); }},
      {"compression", CompressStep,
       [](auto& id) { id.mutable_compress()->set_compression("zstd-1"); }},
      {"push media type", PushStep,
       [](auto& id) { id.mutable_push()->mutable_blob()->set_media_type("x"); }},
      {"push digest", PushStep,
       [](auto& id) { id.mutable_push()->mutable_blob()->mutable_digest()->set_hash("22"); }},
      {"repository", PushStep, [](auto& id) { id.mutable_push()->set_repository("other"); }},
      {"mount from", PushStep, [](auto& id) { id.mutable_push()->set_mount_from("other"); }},
      {"flatten order", FlattenStep,
       [](auto& id) { id.mutable_flatten()->mutable_diff_ids()->SwapElements(0, 1); }},
      {"rewritten layer", RewriteTimesStep,
       [](auto& id) { id.mutable_rewrite_times()->set_diff_id("sha256:bb"); }},
      {"latest time", RewriteTimesStep,
       [](auto& id) { id.mutable_rewrite_times()->set_latest(2); }},
      {"flatten more", FlattenStep, [](auto& id) { id.mutable_flatten()->add_diff_ids(""); }},
      {"operation", CopyStep, [](auto& id) { *id.mutable_make_directory() = {}; }},
  };
  for (const FieldChange& change : changes) {
    v1::StepIdentity changed = change.base();
    change.change(changed);
    EXPECT_NE(Key(changed), Key(change.base())) << change.field;
    EXPECT_THAT(Explain(changed, change.base()), testing::Not(IsEmpty())) << change.field;
  }
}

TEST(StepKeyTest, ParentChangesTheKeyOfWhatStartsFromARoot) {
  for (auto* base : {RunStep, CopyStep, MakeDirectoryStep}) {
    EXPECT_NE(ComputeStepKey(base(), Parent()).digest, ComputeStepKey(base(), Digest()).digest);
  }
}

TEST(StepKeyTest, OnlyACommandDependsOnThePlatform) {
  const auto on_arm = [](v1::StepIdentity identity) {
    identity.mutable_platform()->set_architecture("arm64");
    return identity;
  };
  EXPECT_NE(Key(on_arm(RunStep())), Key(RunStep()));
  for (auto* base :
       {CopyStep, MakeDirectoryStep, UnpackStep, CompressStep, PushStep, FlattenStep}) {
    EXPECT_EQ(Key(on_arm(base())), Key(base()));
  }
}

TEST(StepKeyTest, OperationsWithoutARootIgnoreTheParent) {
  for (auto* base : {UnpackStep, CompressStep, PushStep, FlattenStep}) {
    EXPECT_EQ(ComputeStepKey(base(), Parent()).digest, ComputeStepKey(base(), Digest()).digest);
  }
}

TEST(StepKeyTest, WhereASourceWasFoundIsNotInTheKey) {
  v1::StepIdentity moved = CopyStep();
  moved.mutable_copy()->mutable_items(0)->set_path("deep/down/go.mod");
  moved.mutable_copy()->mutable_items(0)->set_source(3);
  moved.mutable_copy()->mutable_items(0)->mutable_content()->set_size_bytes(99);
  EXPECT_EQ(Key(moved), Key(CopyStep()));
}

TEST(StepKeyTest, TextsThatJoinToTheSameBytesDiffer) {
  v1::StepIdentity a = RunStep(), b = RunStep();
  a.mutable_run()->clear_args();
  b.mutable_run()->clear_args();
  a.mutable_run()->add_args("ab");
  a.mutable_run()->add_args("c");
  b.mutable_run()->add_args("a");
  b.mutable_run()->add_args("bc");
  EXPECT_NE(Key(a), Key(b));
}

TEST(StepKeyTest, ShownIsBoundedAndWholeUtf8) {
  v1::StepIdentity identity = RunStep();
  std::string word;
  for (int i = 0; i < 200; ++i) word += "\xC3\xA9";  // é
  identity.mutable_run()->set_args(2, word);
  const std::string shown = ComputeStepKey(identity, Parent()).parts[3].shown();
  EXPECT_LE(shown.size(), 200u);
  EXPECT_THAT(shown, testing::EndsWith("\xC3\xA9..."));
}

TEST(StepKeyTest, ValuesOfVariablesAreNotShown) {
  v1::StepIdentity identity = RunStep();
  identity.mutable_run()->add_env("TOKEN=hunter2");
  for (const v1::KeyPart& part : ComputeStepKey(identity, Parent()).parts) {
    EXPECT_THAT(part.shown(), testing::Not(testing::HasSubstr("hunter2")));
  }
}

TEST(ExplainKeyTest, EqualPartsNeedNoWord) {
  EXPECT_THAT(Explain(RunStep(), RunStep()), IsEmpty());
}

TEST(ExplainKeyTest, NamesWhatChanged) {
  v1::StepIdentity now = RunStep();
  now.mutable_run()->set_args(2, "make all");
  now.mutable_run()->set_env(1, "CC=clang");
  now.mutable_run()->add_env("V=1");
  now.mutable_run()->set_user("");
  EXPECT_THAT(Explain(now, RunStep()),
              ElementsAre("the command is another one: /bin/sh -c make all (was: /bin/sh -c make)",
                          "variable CC has another value", "variable V is new",
                          "the user is another one: none (was: build)"));
  EXPECT_THAT(Explain(RunStep(), now), testing::Contains("variable V is gone"));
}

TEST(ExplainKeyTest, NamesTheSource) {
  v1::StepIdentity now = CopyStep();
  now.mutable_copy()->mutable_items(0)->mutable_content()->set_hash(DigestOf("2").hex());
  EXPECT_THAT(Explain(now, CopyStep()), ElementsAre("source go.mod has other content"));
}

TEST(ExplainKeyTest, NamesTheParent) {
  EXPECT_THAT(ExplainKey(ComputeStepKey(RunStep(), Parent()).parts,
                         ComputeStepKey(RunStep(), Digest()).parts),
              ElementsAre("the files it starts from have changed"));
}

TEST(ExplainKeyTest, NamesAnotherOrder) {
  v1::StepIdentity now = RunStep();
  now.mutable_run()->mutable_env()->SwapElements(0, 1);
  EXPECT_THAT(Explain(now, RunStep()),
              ElementsAre("its variables or sources come in another order"));
}

TEST(StepKeyTest, WhatABuildAsksForItsRunsIsInTheirKeys) {
  const v1::StepIdentity plain = RunStep();
  v1::StepIdentity hosts = plain;
  hosts.mutable_run()->add_extra_host_names("db");
  v1::StepIdentity shm = plain;
  shm.mutable_run()->set_shm_bytes(1 << 20);
  v1::StepIdentity ulimit = plain;
  v1::Ulimit& nofile = *ulimit.mutable_run()->add_ulimits();
  nofile.set_name("nofile");
  nofile.set_soft(1024);
  nofile.set_hard(-1);
  v1::StepIdentity hostname = plain;
  hostname.mutable_run()->set_hostname("builder");
  EXPECT_THAT(Explain(hosts, plain), ElementsAre("list of extra hosts is new"));
  EXPECT_THAT(Explain(shm, plain), ElementsAre("size of /dev/shm is new"));
  EXPECT_THAT(Explain(ulimit, plain), ElementsAre("list of ulimits is new"));
  EXPECT_THAT(Explain(hostname, plain), ElementsAre("host name is new"));
  v1::StepIdentity other = ulimit;
  other.mutable_run()->mutable_ulimits(0)->set_soft(1025);
  EXPECT_THAT(Explain(other, ulimit),
              ElementsAre("the list of ulimits is another one: nofile=1025:-1 (was: "
                          "nofile=1024:-1)"));
}

}  // namespace
}  // namespace farm
