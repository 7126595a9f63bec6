#include "coordinator/step_result.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "plan/source_url.h"

namespace farm {
namespace {

using Output = v1::StepResult::OutputCase;

absl::Status Wrong(absl::string_view what) {
  return absl::InternalError(absl::StrCat("the result of the step ", what));
}

Output OutputOf(const v1::StepIdentity& identity) {
  switch (identity.operation_case()) {
    case v1::StepIdentity::kRun:
    case v1::StepIdentity::kCopy:
    case v1::StepIdentity::kMakeDirectory:
    case v1::StepIdentity::kUnpack:
    case v1::StepIdentity::kFetchFile:
    case v1::StepIdentity::kFetchGit:
    case v1::StepIdentity::kRewriteTimes:
      return Output::kLayer;
    case v1::StepIdentity::kResolveGit:
      return Output::kCommit;
    case v1::StepIdentity::kCompress:
    case v1::StepIdentity::kFlatten:
      return Output::kBlob;
    case v1::StepIdentity::kPush:
    case v1::StepIdentity::OPERATION_NOT_SET:
      return Output::OUTPUT_NOT_SET;
  }
  return Output::OUTPUT_NOT_SET;
}

absl::Status CheckDigest(absl::string_view name, const v1::Digest& digest) {
  if (DigestFromProto(digest).ok()) return absl::OkStatus();
  return Wrong(absl::StrCat("has no digest as its ", name));
}

absl::Status CheckLayer(const v1::StepIdentity& identity, const v1::LayerResult& layer) {
  RETURN_IF_ERROR(CheckDigest("diffID", layer.diff_id()));
  RETURN_IF_ERROR(CheckDigest("table", layer.table()));
  RETURN_IF_ERROR(CheckDigest("canonical digest", layer.canonical()));
  RETURN_IF_ERROR(CheckDigest("layer's form", layer.form().digest()));
  const std::string& wanted = identity.unpack().diff_id();
  if (!wanted.empty() && wanted != absl::StrCat("sha256:", layer.diff_id().hash())) {
    return Wrong(absl::StrCat("is layer ", layer.diff_id().hash(), ", not ", wanted));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckResult(const v1::StepIdentity& identity, const v1::StepResult& result) {
  if (result.exit_code() != 0) {
    return identity.has_run() ? absl::OkStatus() : Wrong("has an exit code, but it runs nothing");
  }
  if (result.output_case() != OutputOf(identity)) return Wrong("is not of its kind");
  if (result.has_layer()) return CheckLayer(identity, result.layer());
  if (result.has_commit() && !IsGitCommitId(result.commit().id())) return Wrong("is no commit");
  if (result.has_blob()) return CheckDigest("blob", result.blob().digest());
  return absl::OkStatus();
}

}  // namespace farm
