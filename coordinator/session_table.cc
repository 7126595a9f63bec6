#include "coordinator/session_table.h"

#include <algorithm>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"

namespace farm {

std::string SessionTable::NewId() {
  static constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyz234567";
  absl::BitGen random;
  std::string id = "b";
  while (id.size() < 13) id += kLetters[absl::Uniform(random, 0u, 32u)];
  return id;
}

absl::Status SessionTable::Start(std::shared_ptr<Session> session) {
  if (closed_) return absl::UnavailableError("the coordinator is stopping");
  if (open_ >= options_.sessions_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(options_.sessions_max, " builds are under way (builds_max): try again later"));
  }
  ++open_;
  Touch();
  const absl::Time now = clock_.Now();
  sessions_[session->id()] = {.session = session, .started = now, .since = now};
  session->events().OnFinished([this, id = session->id()] {
    sessions_[id].since = clock_.Now();
    --open_;
    Touch();
  });
  session->Start();
  return absl::OkStatus();
}

std::shared_ptr<Session> SessionTable::Find(const std::string& domain,
                                            const std::string& id) const {
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || it->second.session->domain() != domain) return nullptr;
  return it->second.session;
}

void SessionTable::OnTick() {
  const absl::Time now = clock_.Now();
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    Entry& entry = it->second;
    if (SshAgentRelay* agents = entry.session->ssh_agents(); agents != nullptr) agents->OnTick();
    const bool finished = entry.session->events().finished();
    if (!finished && entry.session->events().watchers() > 0) {
      entry.since = now;
    } else if (!finished && now - entry.since > options_.attach_grace) {
      entry.session->Cancel();
    } else if (finished && now - entry.since > options_.finished_kept) {
      it = sessions_.erase(it);
      continue;
    }
    ++it;
  }
}

bool SessionTable::CloseIfIdle(absl::Duration idle_for) {
  if (idle() > idle_for) Close();
  return closed_;
}

void SessionTable::CancelAll(const absl::Status& why) {
  for (auto& [id, entry] : sessions_) entry.session->Cancel(why);
}

Session::LiveBlobs SessionTable::LiveBlobs() const {
  Session::LiveBlobs live;
  for (const auto& [id, entry] : sessions_) entry.session->AddLiveBlobs(live);
  return live;
}

absl::Time SessionTable::BusySince() const {
  absl::Time since = absl::InfiniteFuture();
  for (const auto& [id, entry] : sessions_) {
    if (!entry.session->events().finished()) since = std::min(since, entry.started);
  }
  return since;
}

void SessionTable::Touch() { last_use_ns_ = absl::ToUnixNanos(clock_.Now()); }

absl::Duration SessionTable::idle() const {
  if (open_ > 0) return absl::ZeroDuration();
  return clock_.Now() - absl::FromUnixNanos(last_use_ns_);
}

}  // namespace farm
