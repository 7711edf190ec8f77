// site_text.h - what came of a sweep of failures, for people.
#pragma once

#include <span>
#include <string>

#include "fuzz/worker_message.h"

namespace nmrfuzz::fuzz {

// A table: each site with how often its call failed, what was found when it failed alone and with another, and how many
// sites survived failing alone. Nothing without sites.
std::string sites_text(std::span<const SiteReport> sites);

}  // namespace nmrfuzz::fuzz
