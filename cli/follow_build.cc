#include "cli/follow_build.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace farm {
namespace {

bool BlobsAreMissing(const v1::BuildFinished& finished) {
  return finished.has_error() &&
         finished.error().code() == static_cast<int>(absl::StatusCode::kFailedPrecondition);
}

}  // namespace

void BuildHandle::Cancel(FarmClient& client) {
  std::string id;
  {
    MutexLock lock(mu_);
    cancelled_ = true;
    id = id_;
  }
  if (id.empty()) return;
  v1::CancelRequest request;
  request.set_build_id(id);
  client.Cancel(request).IgnoreError();  // The build ends anyway when nobody attaches to it.
}

bool BuildHandle::cancelled() const {
  MutexLock lock(mu_);
  return cancelled_;
}

void BuildHandle::SetId(const std::string& id, FarmClient& client) {
  bool cancelled;
  {
    MutexLock lock(mu_);
    id_ = id;
    cancelled = cancelled_;
  }
  if (cancelled) Cancel(client);
}

std::string BuildHandle::id() const {
  MutexLock lock(mu_);
  return id_;
}

absl::StatusOr<v1::BuildFinished> FollowBuild(
    FarmClient& client, const std::function<absl::Status(const FarmClient::EventHandler&)>& start,
    Progress& progress, BuildHandle& handle, const FollowOptions& options) {
  handle.SetId("", client);  // That of a build before it is over.
  std::optional<v1::BuildFinished> finished;
  int64_t last_sequence = 0;
  int attempts = 0;
  const FarmClient::EventHandler handler = [&](const v1::BuildEvent& event) {
    if (event.sequence() <= last_sequence) return;  // Seen before the stream was lost.
    last_sequence = event.sequence();
    attempts = 0;
    if (event.has_started()) handle.SetId(event.started().build_id(), client);
    if (event.has_finished()) finished = event.finished();
    // Who called can mend that one, so it is not the end.
    if (!finished.has_value() || !BlobsAreMissing(*finished)) progress.OnEvent(event);
  };
  absl::Status status = start(handler);
  while (!finished.has_value()) {
    // Before it has an id there is nothing to join, and a broken request stays broken.
    const bool lost = status.ok() || absl::IsUnavailable(status);
    if (handle.id().empty() || !lost || attempts >= options.attach_attempts_max) {
      if (status.ok()) return absl::UnavailableError("the farm ended the stream of events early");
      return status;
    }
    if (attempts == 0) progress.Note("connection to the farm lost, joining the build again");
    absl::SleepFor(
        std::min(options.backoff_max, options.backoff_min * (1 << std::min(attempts, 10))));
    ++attempts;
    v1::AttachRequest request;
    request.set_build_id(handle.id());
    request.set_after_sequence(last_sequence);
    status = client.AttachBuild(request, handler);
    if (absl::IsNotFound(status)) {
      return absl::AbortedError(
          "the farm does not know it any more: it was restarted, or out of reach for too long");
    }
  }
  if (BlobsAreMissing(*finished)) {
    return absl::FailedPreconditionError(finished->error().message());
  }
  return *std::move(finished);
}

}  // namespace farm
