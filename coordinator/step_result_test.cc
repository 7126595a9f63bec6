#include "coordinator/step_result.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

v1::StepIdentity RunStep() {
  v1::StepIdentity identity;
  identity.mutable_run();
  return identity;
}

v1::StepIdentity Unpack(const std::string& diff_id) {
  v1::StepIdentity identity;
  identity.mutable_unpack()->set_diff_id(diff_id);
  return identity;
}

v1::StepResult Layer() {
  v1::StepResult result;
  v1::LayerResult& layer = *result.mutable_layer();
  *layer.mutable_diff_id() = DigestToProto(DigestOf("tar"));
  *layer.mutable_table() = DigestToProto(DigestOf("table"));
  *layer.mutable_canonical() = DigestToProto(DigestOf("canonical"));
  *layer.mutable_form()->mutable_digest() = DigestToProto(DigestOf("tar"));
  return result;
}

v1::StepResult Blob() {
  v1::StepResult result;
  *result.mutable_blob()->mutable_digest() = DigestToProto(DigestOf("blob"));
  return result;
}

v1::StepResult Exit(int code) {
  v1::StepResult result;
  result.set_exit_code(code);
  return result;
}

TEST(StepResultTest, EachOperationHasAnOutputOfItsKind) {
  v1::StepIdentity compress, push;
  compress.mutable_compress();
  push.mutable_push();
  EXPECT_OK(CheckResult(RunStep(), Layer()));
  EXPECT_OK(CheckResult(compress, Blob()));
  EXPECT_OK(CheckResult(push, Exit(0)));
  v1::StepIdentity fetch_file, fetch_git, resolve_git;
  fetch_file.mutable_fetch_file();
  fetch_git.mutable_fetch_git();
  resolve_git.mutable_resolve_git();
  v1::StepResult commit, no_commit;
  commit.mutable_commit()->set_id(std::string(40, 'a'));
  no_commit.mutable_commit()->set_id("--upload-pack=x");
  EXPECT_OK(CheckResult(fetch_file, Layer()));
  EXPECT_OK(CheckResult(fetch_git, Layer()));
  EXPECT_OK(CheckResult(resolve_git, commit));
  for (const auto& [identity, result] :
       {std::pair(RunStep(), Blob()), std::pair(RunStep(), Exit(0)), std::pair(compress, Layer()),
        std::pair(push, Blob()), std::pair(fetch_file, Blob()), std::pair(fetch_git, commit),
        std::pair(resolve_git, Layer()), std::pair(resolve_git, no_commit)}) {
    EXPECT_THAT(CheckResult(identity, result), StatusIs(absl::StatusCode::kInternal))
        << identity.DebugString() << result.DebugString();
  }
}

TEST(StepResultTest, OnlyACommandFails) {
  EXPECT_OK(CheckResult(RunStep(), Exit(1)));
  EXPECT_THAT(CheckResult(Unpack(""), Exit(1)), StatusIs(absl::StatusCode::kInternal));
}

TEST(StepResultTest, EachDigestIsOne) {
  const std::function<v1::Digest*(v1::LayerResult&)> digests[] = {
      [](v1::LayerResult& layer) { return layer.mutable_diff_id(); },
      [](v1::LayerResult& layer) { return layer.mutable_table(); },
      [](v1::LayerResult& layer) { return layer.mutable_canonical(); },
      [](v1::LayerResult& layer) { return layer.mutable_form()->mutable_digest(); }};
  for (const auto& digest : digests) {
    for (const std::string hash : {"", "no hash"}) {
      v1::StepResult result = Layer();
      digest(*result.mutable_layer())->set_hash(hash);
      EXPECT_THAT(CheckResult(RunStep(), result), StatusIs(absl::StatusCode::kInternal));
    }
  }
  v1::StepIdentity flatten;
  flatten.mutable_flatten();
  v1::StepResult blob = Blob();
  blob.mutable_blob()->mutable_digest()->set_size_bytes(-1);
  EXPECT_THAT(CheckResult(flatten, blob), StatusIs(absl::StatusCode::kInternal));
}

TEST(StepResultTest, WhatWasUnpackedIsTheLayerThatWasAskedFor) {
  EXPECT_OK(CheckResult(Unpack(""), Layer()));
  EXPECT_OK(CheckResult(Unpack(DigestOf("tar").oci()), Layer()));
  EXPECT_THAT(CheckResult(Unpack(DigestOf("other").oci()), Layer()),
              StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace farm
