#include "fuzz/hunt.h"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <tuple>

#include "fuzz/death_report.h"
#include "fuzz/discoveries.h"
#include "fuzz/interrupt.h"
#include "fuzz/nearby.h"
#include "fuzz/replayer.h"
#include "fuzz/worker_process.h"

namespace nmrfuzz::fuzz {

namespace {

constexpr int kWatchMilliseconds = 100;
constexpr std::uint64_t kNoEnd = std::numeric_limits<std::uint64_t>::max() / 2;

class Hunt {
 public:
  Hunt(const ModuleSet& modules, const HuntPlan& plan, Progress& progress)
      : modules_(modules), plan_(plan), progress_(progress), discoveries_(modules, plan), lanes_(plan.jobs) {}

  HuntResult run() {
    // The first alone, until it has loaded and probed the modules: what is wrong with them is said once.
    start(0, 0);
    while (step()) {
    }
    // Without --keep-going the lowest schedule wins; it is known only now.
    if (first_) {
      note_fault(discoveries_.add(*first_));
    }
    if (first_) {
      discoveries_.forget_behind(first_->schedule);
    }
    result_.discoveries = discoveries_.take();
    result_.notes = take_notes();
    for (auto& [key, site] : sites_) {
      result_.sites.push_back(std::move(site));
    }
    result_.seconds = elapsed();
    return std::move(result_);
  }

 private:
  // A sequence of workers, each going on where the one before it died.
  struct Lane {
    std::unique_ptr<WorkerProcess> worker;
    std::vector<WorkerMessage> messages;
  };

  double elapsed() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  void note_fault(const std::string& fault) {
    if (result_.fault.empty()) {
      result_.fault = fault;
    }
  }

  void start(std::size_t lane, std::uint64_t first) {
    WorkerOrder order;
    order.task = Task::kHunt;
    order.images = modules_.images(plan_.build);
    order.conditions = plan_.conditions;
    order.strategy = plan_.strategy;
    order.seed = plan_.seed;
    order.first = first;
    order.stride = plan_.jobs;
    order.end = plan_.schedules.value_or(kNoEnd);
    order.keep_going = plan_.keep_going;
    order.sweep_only = plan_.sweep_only;
    order.wanted = plan_.wanted;
    std::string error;
    lanes_[lane].worker = WorkerProcess::start(std::move(order), plan_.build, plan_.near, error);
    if (lanes_[lane].worker == nullptr) {
      note_fault(error);
      stop_before(0);
      return;
    }
    lanes_[lane].worker->state().stop_before = bound_;
  }

  // Schedules from `bound` on are not wanted any more.
  void stop_before(std::uint64_t bound) {
    bound_ = std::min(bound_, bound);
    for (Lane& lane : lanes_) {
      if (lane.worker != nullptr) {
        lane.worker->state().stop_before = bound_;
      }
    }
  }

  // Waits a little and looks after every worker. False when none is left.
  bool step() {
    std::vector<struct pollfd> waits;
    for (const Lane& lane : lanes_) {
      if (lane.worker != nullptr) {
        waits.push_back({lane.worker->descriptor(), POLLIN, 0});
      }
    }
    if (waits.empty()) {
      return false;
    }
    poll(waits.data(), waits.size(), patience());
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      look_after(i);
    }
    check_budget();
    show_progress();
    return true;
  }

  // Milliseconds until somebody has to be looked after or the time is over.
  int patience() const {
    if (!plan_.seconds || first_) {
      return kWatchMilliseconds;
    }
    return static_cast<int>(std::clamp((*plan_.seconds - elapsed()) * 1000, 1.0, double{kWatchMilliseconds}));
  }

  void look_after(std::size_t index) {
    Lane& lane = lanes_[index];
    if (lane.worker == nullptr) {
      return;
    }
    const bool alive = lane.worker->receive(lane.messages);
    std::vector<WorkerMessage> messages;
    messages.swap(lane.messages);
    for (const WorkerMessage& message : messages) {
      on_message(message);
    }
    if (alive) {
      lane.worker->watch();
      return;
    }
    const WorkerEnd end = lane.worker->finish();
    // Kept until its state has been read.
    const std::unique_ptr<WorkerProcess> dead = std::move(lane.worker);
    account(dead->state());
    if (end == WorkerEnd::kModuleDied) {
      on_death(index, dead->state());
    } else if (end == WorkerEnd::kFault) {
      on_fault(*dead);
    }
  }

  void on_message(const WorkerMessage& message) {
    if (const auto* found = std::get_if<Found>(&message)) {
      on_found(*found);
    } else if (const auto* noted = std::get_if<Noted>(&message)) {
      on_noted(*noted);
    } else if (const auto* site = std::get_if<SiteReport>(&message)) {
      on_site(*site);
    } else if (const auto* failure = std::get_if<CannotLoad>(&message)) {
      result_.unusable = load_failure_text(modules_, *failure);
    } else if (std::holds_alternative<Ready>(message) && !others_started_) {
      others_started_ = true;
      for (std::size_t i = 1; i < lanes_.size(); ++i) {
        start(i, i);
      }
    }
  }

  void on_site(const SiteReport& told) {
    SiteReport& site =
        sites_.try_emplace({told.routine, told.place}, SiteReport{told.routine, told.place}).first->second;
    site.failures += told.failures;
    site.findings += told.findings;
    site.pair_findings += told.pair_findings;
  }

  // Of each signature the first.
  void on_noted(const Noted& noted) {
    const auto [known, added] = notes_.try_emplace(noted.report.signature);
    if (added || noted.schedule + 1 < known->second.schedules_to_find) {
      known->second = {noted.report, noted.schedule + 1, noted.hash};
    }
  }

  // Those of the schedules that count, whatever the number of workers, and no more than a reader can use.
  std::vector<Note> take_notes() {
    constexpr std::size_t kMost = 40;
    std::vector<Note> notes;
    for (auto& [signature, note] : notes_) {
      if (!first_ || note.schedules_to_find <= first_->schedule + 1) {
        notes.push_back(std::move(note));
      }
    }
    std::sort(notes.begin(), notes.end(), [](const Note& left, const Note& right) {
      return std::tie(left.schedules_to_find, left.report.signature) <
             std::tie(right.schedules_to_find, right.report.signature);
    });
    notes.resize(std::min(notes.size(), kMost));
    return notes;
  }

  void on_found(const Found& found) {
    if (!ends_hunt(found)) {
      note_fault(discoveries_.add(found));
    } else if (!first_ || found.schedule < first_->schedule) {
      first_ = found;
      stop_before(found.schedule);
    }
  }

  bool ends_hunt(const Found& found) const {
    return !plan_.keep_going && (!plan_.wanted.anything() || plan_.wanted.is(found.report));
  }

  void account(const SharedState& state) {
    result_.schedules += state.schedules_done;
    result_.decisions += state.decisions_done;
    result_.registrations += state.registrations;
    result_.cut_short += state.cut_short;
  }

  // The schedule under way killed its worker.
  void on_death(std::size_t lane, SharedState& state) {
    const Phase phase = state.phase;
    if (phase == Phase::kDescribing) {
      note_fault("a finding killed its worker when it was repeated");
      return;
    }
    const bool probing = phase == Phase::kProbing;
    Found found;
    found.schedule = state.schedule;
    found.strategy = probing ? "probe" : Nearby::name_of_schedule(plan_.strategy, found.schedule, !plan_.near.empty());
    found.hash = state.ring.hash;
    found.events = state.ring.written;
    const auto log = state.decisions.view();
    found.decisions.assign(log.begin(), log.end());
    found.report = report_of_death(state, name_places(modules_, plan_.build, state.death));
    on_found(found);
    if (probing) {
      stop_before(0);  // nothing else can be run
      return;
    }
    ++result_.schedules;
    result_.decisions += log.size();
    const std::uint64_t next = state.schedule + plan_.jobs;
    if (!ends_hunt(found) && next < bound_) {
      start(lane, next);
    }
  }

  void on_fault(WorkerProcess& worker) {
    const SharedState& state = worker.state();
    if (state.phase == Phase::kLoading) {
      note_fault(fmt::format("the modules cannot be loaded: {}", worker.failure()));
    } else {
      note_fault(fmt::format("{} (schedule {} of seed {})", worker.failure(), state.schedule.load(), plan_.seed));
    }
    stop_before(0);
  }

  void check_budget() {
    const bool over = plan_.seconds && elapsed() >= *plan_.seconds;
    if (interrupted() || result_.fault != "" || (over && !first_)) {
      result_.interrupted = interrupted();
      stop_before(0);
    }
  }

  void show_progress() {
    std::uint64_t schedules = result_.schedules;
    for (const Lane& lane : lanes_) {
      schedules += lane.worker == nullptr ? 0 : lane.worker->state().schedules_done.load();
    }
    std::optional<double> left;
    if (plan_.seconds) {
      left = *plan_.seconds - elapsed();
    }
    progress_.update(schedules, discoveries_.size() + (first_ ? 1 : 0), elapsed(), left);
  }

  const ModuleSet& modules_;
  const HuntPlan& plan_;
  Progress& progress_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Discoveries discoveries_;
  std::map<std::string, Note> notes_;  // by signature
  std::vector<Lane> lanes_;
  std::map<std::pair<std::string, std::string>, SiteReport> sites_;
  bool others_started_ = false;
  std::uint64_t bound_ = std::numeric_limits<std::uint64_t>::max();
  std::optional<Found> first_;  // the lowest, without --keep-going
  HuntResult result_;
};

}  // namespace

HuntResult hunt(const ModuleSet& modules, const HuntPlan& plan, Progress& progress) {
  return Hunt(modules, plan, progress).run();
}

}  // namespace nmrfuzz::fuzz
