#ifndef FARM_CLI_TESTING_FAKE_FARM_CLIENT_H_
#define FARM_CLI_TESTING_FAKE_FARM_CLIENT_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/testing/fake_clock.h"
#include "cas/memory_blob_store.h"
#include "cli/farm_client.h"

namespace farm {

// A farm that plays streams from a script and keeps blobs in memory; what is not scripted is
// UNIMPLEMENTED. Not safe for concurrent calls but those of its blobs.
class FakeFarmClient final : public FarmClient {
 public:
  struct Script {
    std::vector<v1::BuildEvent> events;
    absl::Status end;
  };
  std::vector<Script> starts;  // taken from the front, as are the next
  std::vector<Script> attaches;
  std::function<void(const v1::StartBuildRequest&)> on_start;
  std::function<void(const Digest&)> on_put;  // of each blob that was not there
  std::vector<int64_t> attached_after;
  std::vector<std::string> cancelled;
  std::vector<Script> pulls, exports, imports;
  std::function<void()> on_pull, on_cancel;
  // Called on the thread of who answers.
  std::function<absl::StatusOr<v1::AnswerSshAgentResponse>(const v1::AnswerSshAgentRequest&,
                                                           CancelToken& cancel)>
      on_ssh_agent;
  std::map<std::string, v1::Image> images;  // by what Inspect is asked for
  std::vector<v1::PullImageRequest> pull_requests;
  std::function<absl::StatusOr<v1::InfoResponse>()> info;
  std::function<absl::Status()> shutdown;
  v1::DiskUsageResponse disk_usage;
  v1::PruneResponse pruned;
  std::function<void(const v1::PruneRequest&)> on_prune;

  static absl::Status Play(const Script& script, const EventHandler& handler) {
    for (const v1::BuildEvent& event : script.events) handler(event);
    return script.end;
  }

  absl::Status StartBuild(const v1::StartBuildRequest& request,
                          const EventHandler& handler) override {
    if (on_start != nullptr) on_start(request);
    return PlayNext(starts, handler);
  }
  absl::Status AttachBuild(const v1::AttachRequest& request, const EventHandler& handler) override {
    attached_after.push_back(request.after_sequence());
    return PlayNext(attaches, handler);
  }
  absl::Status Cancel(const v1::CancelRequest& request) override {
    cancelled.push_back(request.build_id());
    if (on_cancel != nullptr) on_cancel();
    return absl::OkStatus();
  }
  absl::StatusOr<v1::AnswerSshAgentResponse> AnswerSshAgent(
      const v1::AnswerSshAgentRequest& request, CancelToken& cancel) override {
    if (on_ssh_agent == nullptr) return NotScripted();
    return on_ssh_agent(request, cancel);
  }
  absl::Status CheckHealth(absl::Duration) override { return absl::OkStatus(); }
  absl::StatusOr<v1::InfoResponse> Info(absl::Duration) override {
    if (info == nullptr) return NotScripted();
    return info();
  }
  absl::Status Shutdown() override { return shutdown == nullptr ? NotScripted() : shutdown(); }
  BlobStore& blobs() override { return blobs_; }
  absl::Status PutBlobs(absl::Span<const std::pair<Digest, std::string>> blobs) override {
    for (const auto& [digest, bytes] : blobs) {
      StringSource source(bytes);
      if (absl::Status status = blobs_.Put(digest, source); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<v1::ListImagesResponse> ListImages(const v1::ListImagesRequest&) override {
    v1::ListImagesResponse response;
    for (const auto& [name, image] : images) *response.add_images() = image;
    return response;
  }
  absl::StatusOr<v1::Image> InspectImage(const v1::InspectImageRequest& request) override {
    const auto image = images.find(request.name());
    if (image == images.end()) return absl::NotFoundError("no such image: " + request.name());
    return image->second;
  }
  absl::Status TagImage(const v1::TagImageRequest&) override { return NotScripted(); }
  absl::StatusOr<v1::RemoveImageResponse> RemoveImage(const v1::RemoveImageRequest&) override {
    return NotScripted();
  }
  absl::StatusOr<v1::ResolveImageResponse> ResolveImage(const v1::ResolveImageRequest&) override {
    return NotScripted();
  }
  absl::Status ImportImage(const v1::ImportImageRequest&, const EventHandler& handler) override {
    return PlayNext(imports, handler);
  }
  absl::Status LoadImage(const v1::LoadImageRequest&, const EventHandler&) override {
    return NotScripted();
  }
  absl::Status PullImage(const v1::PullImageRequest& request,
                         const EventHandler& handler) override {
    pull_requests.push_back(request);
    return PlayNext(pulls, [&](const v1::BuildEvent& event) {
      handler(event);
      if (event.has_started() && on_pull != nullptr) on_pull();
    });
  }
  absl::Status PushImage(const v1::PushImageRequest&, const EventHandler&) override {
    return NotScripted();
  }
  absl::Status ExportImage(const v1::ExportImageRequest&, const EventHandler& handler) override {
    return PlayNext(exports, handler);
  }
  absl::StatusOr<v1::DiskUsageResponse> DiskUsage() override { return disk_usage; }
  absl::StatusOr<v1::PruneResponse> Prune(const v1::PruneRequest& request) override {
    if (on_prune != nullptr) on_prune(request);
    return pruned;
  }

 private:
  static absl::Status NotScripted() { return absl::UnimplementedError("not scripted"); }
  static absl::Status PlayNext(std::vector<Script>& scripts, const EventHandler& handler) {
    if (scripts.empty()) return absl::UnavailableError("gone");
    const Script script = scripts.front();
    scripts.erase(scripts.begin());
    return Play(script, handler);
  }

  // Tells of what is put.
  class Blobs final : public BlobStore {
   public:
    explicit Blobs(const FakeFarmClient& farm) : farm_(farm) {}
    absl::Status Put(const Digest& digest, ByteSource& source) override {
      const auto missing = inner_.FindMissing({digest});
      if (farm_.on_put != nullptr && missing.ok() && !missing->empty()) {
        MutexLock lock(mu_);
        farm_.on_put(digest);
      }
      return inner_.Put(digest, source);
    }
    absl::Status PutFile(const Digest& digest, const std::string& path) override {
      return inner_.PutFile(digest, path);
    }
    absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override {
      return inner_.Get(digest, offset, sink);
    }
    absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override {
      return inner_.OpenFile(digest);
    }
    absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override {
      return inner_.FindMissing(digests);
    }
    absl::Status Sync(absl::Span<const Digest> digests) override { return inner_.Sync(digests); }
    absl::Status Delete(const Digest& digest) override { return inner_.Delete(digest); }

   private:
    const FakeFarmClient& farm_;
    Mutex mu_;
    FakeClock clock_;
    MemoryBlobStore inner_{clock_};
  };

  Blobs blobs_{*this};
};

}  // namespace farm

#endif  // FARM_CLI_TESTING_FAKE_FARM_CLIENT_H_
