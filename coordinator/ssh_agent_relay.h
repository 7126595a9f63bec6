#ifndef FARM_COORDINATOR_SSH_AGENT_RELAY_H_
#define FARM_COORDINATOR_SSH_AGENT_RELAY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// Brings what steps ask of their build's ssh agents to its client, and the answers back: one
// question after the other, each until it is answered. Owned by the event loop.
class SshAgentRelay {
 public:
  // Waiting for the client; more are refused.
  static constexpr size_t kQuestionsMax = 64;
  // Of each question, from when it is its turn: a person may have to confirm it.
  static constexpr absl::Duration kAnswerMax = absl::Minutes(2);
  // A poll is answered at least this often.
  static constexpr absl::Duration kPollMax = absl::Seconds(10);

  using Answer = std::function<void(absl::StatusOr<std::string> answer)>;
  using PollReply = std::function<void(absl::StatusOr<v1::AnswerSshAgentResponse> response)>;

  // `agents`: ids of those that the client has.
  SshAgentRelay(std::set<std::string> agents, Clock& clock)
      : agents_(std::move(agents)), clock_(clock) {}
  ~SshAgentRelay() { Close(); }
  SshAgentRelay(const SshAgentRelay&) = delete;
  SshAgentRelay& operator=(const SshAgentRelay&) = delete;

  // True while agent `id` can be asked.
  bool Has(const std::string& id) const { return !closed_ && agents_.contains(id); }
  // Asks an agent that Has() knows. `then` is called once: with the answer, or
  //   UNAVAILABLE          kQuestionsMax are waiting: it may be asked again
  //   DEADLINE_EXCEEDED    nobody answered in time
  //   FAILED_PRECONDITION  the build or the step is over
  // `is_wanted` is asked before the client is: a step that has ended meanwhile gets nothing more.
  void Ask(const std::string& id, std::string question, std::function<bool()> is_wanted,
           Answer then);

  // The client's call, see Builds.AnswerSshAgent. A newer one has an older one answered, unasked.
  void Poll(const v1::AnswerSshAgentRequest& request, PollReply reply);

  // Gives up what waits for too long. Call it about each second.
  void OnTick();
  // The build is over: answers all that waits, here and to come.
  void Close();

 private:
  struct Question {
    int64_t number;
    std::string agent;
    std::string text;
    std::function<bool()> is_wanted;
    Answer then;
  };

  // Has the poll answered, if there is something to ask.
  void Deliver();
  // Takes the first question off and answers it.
  void Settle(absl::StatusOr<std::string> answer);
  void EndPoll();

  const std::set<std::string> agents_;
  Clock& clock_;
  bool closed_ = false;
  int64_t next_number_ = 1;
  std::deque<Question> questions_;
  absl::Time first_since_;  // when it became the first one's turn
  PollReply poll_;          // null: the client does not wait
  absl::Time poll_since_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_SSH_AGENT_RELAY_H_
