// rules.h - all rule families together, as an execution uses them.
#pragma once

#include "contract/callback_status.h"
#include "contract/calls.h"
#include "contract/data_race.h"
#include "contract/handles.h"
#include "contract/progress.h"
#include "contract/protocol.h"
#include "contract/unload.h"

namespace nmrfuzz::contract {

class Rules {
 public:
  Rules(trace::Recorder& recorder, FindingSink& sink)
      : protocol_(recorder, sink),
        handles_(recorder, sink),
        callback_status_(recorder, sink),
        calls_(recorder, sink),
        unload_(recorder, sink),
        progress_(recorder, sink),
        data_race_(recorder, sink) {}

  void reset() {
    protocol_.reset();
    handles_.reset();
    callback_status_.reset();
    calls_.reset();
    unload_.reset();
    progress_.reset();
    data_race_.reset();
  }

 private:
  Protocol protocol_;
  Handles handles_;
  CallbackStatus callback_status_;
  Calls calls_;
  Unload unload_;
  Progress progress_;
  DataRace data_race_;
};

}  // namespace nmrfuzz::contract
