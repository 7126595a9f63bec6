#include "coordinator/ssh_agent_relay.h"

#include "base/check.h"

namespace farm {
namespace {

absl::Status IsOver() { return absl::NotFoundError("the build is over"); }

}  // namespace

void SshAgentRelay::Ask(const std::string& id, std::string question,
                        std::function<bool()> is_wanted, Answer then) {
  FARM_CHECK(Has(id)) << "the client has no ssh agent " << id;
  if (questions_.size() >= kQuestionsMax) {
    return then(absl::UnavailableError("too many questions wait for the client's ssh agent"));
  }
  if (questions_.empty()) first_since_ = clock_.Now();
  questions_.push_back({.number = next_number_++,
                        .agent = id,
                        .text = std::move(question),
                        .is_wanted = std::move(is_wanted),
                        .then = std::move(then)});
  Deliver();
}

void SshAgentRelay::Poll(const v1::AnswerSshAgentRequest& request, PollReply reply) {
  if (closed_) return reply(IsOver());
  EndPoll();
  // Any other answer is to a question that was given up, or answered already.
  if (!questions_.empty() && questions_.front().number == request.number()) {
    Settle(request.answer());
  }
  // Who was answered may have asked, or ended, anything.
  if (closed_) return reply(IsOver());
  poll_ = std::move(reply);
  poll_since_ = clock_.Now();
  Deliver();
}

void SshAgentRelay::OnTick() {
  const absl::Time now = clock_.Now();
  if (!questions_.empty() && now - first_since_ > kAnswerMax) {
    Settle(absl::DeadlineExceededError("the client's ssh agent did not answer in time"));
  }
  Deliver();
  if (poll_ != nullptr && now - poll_since_ > kPollMax) EndPoll();
}

void SshAgentRelay::Close() {
  closed_ = true;
  while (!questions_.empty()) Settle(absl::FailedPreconditionError("the build is over"));
  if (poll_ != nullptr) std::exchange(poll_, nullptr)(IsOver());
}

void SshAgentRelay::Deliver() {
  while (poll_ != nullptr && !questions_.empty()) {
    const Question& first = questions_.front();
    if (!first.is_wanted()) {
      Settle(absl::FailedPreconditionError("the step has ended"));
      continue;
    }
    v1::AnswerSshAgentResponse response;
    response.set_number(first.number);
    response.set_agent(first.agent);
    response.set_question(first.text);
    std::exchange(poll_, nullptr)(std::move(response));
  }
}

void SshAgentRelay::Settle(absl::StatusOr<std::string> answer) {
  const Answer then = std::move(questions_.front().then);
  questions_.pop_front();
  first_since_ = clock_.Now();
  then(std::move(answer));
}

void SshAgentRelay::EndPoll() {
  if (poll_ != nullptr) std::exchange(poll_, nullptr)(v1::AnswerSshAgentResponse());
}

}  // namespace farm
