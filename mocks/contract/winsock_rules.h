// winsock_rules.h - the rules for clients of the Winsock Kernel: W1 to W13. Part of rule_table.cpp.
#pragma once

#include <array>

#include "contract/rule_table.h"

namespace nmrfuzz::contract {

inline constexpr std::string_view kNotPlayed = "the Winsock Kernel is not played yet";
inline constexpr std::string_view kWskPages = "WskRegister, WskDeregister";
inline constexpr std::string_view kCapturePage = "WskCaptureProviderNPI";

inline constexpr auto kWinsockRules = std::to_array<RuleRow>({
    {"W1", "Each routine of the Winsock Kernel is called at the level that its page allows.", kWskPages,
     FindingKind::kIrql, kNotPlayed},
    {"W2", "Each WskRegister that succeeded has its WskDeregister, which has returned before Unload does.", kWskPages,
     FindingKind::kUnloadRegistered, kNotPlayed},
    {"W3", "No two registrations share a WSK_REGISTRATION.", kWskPages, FindingKind::kBadCall, kNotPlayed},
    {"W4", "A WSK_REGISTRATION is left alone while it is registered.", kWskPages, FindingKind::kCharacteristicsChanged,
     kNotPlayed},
    {"W5", "The client dispatch is well formed and lives until WskDeregister has returned.", kWskPages,
     FindingKind::kCharacteristicsChanged, kNotPlayed},
    {"W6", "Each capture that succeeded is released, once.", kCapturePage, FindingKind::kDeadlock, kNotPlayed},
    {"W7", "Functions of the provider dispatch are called only while it is captured.", kCapturePage,
     FindingKind::kUseAfterDetach, kNotPlayed},
    {"W8", "Sockets are closed, or about to be, when WskDeregister waits.", kWskPages, FindingKind::kDeadlock,
     kNotPlayed},
    {"W9", "Requests can complete while WskDeregister waits for them.", kWskPages, FindingKind::kDeadlock, kNotPlayed},
    {"W10", "DriverEntry does not wait long for the capture.", kCapturePage, FindingKind::kDeadlock, kNotPlayed},
    {"W11", "A capture that fails is handled; one that wins against WskDeregister is released.", kCapturePage,
     FindingKind::kDeadlock, kNotPlayed},
    {"W12", "WskClientEvent and completions neither wait for other requests nor deregister.", "WskClientEvent",
     FindingKind::kDeadlock, kNotPlayed},
    {"W13", "A client that attaches to the Winsock Kernel through NMR keeps the rules of NMR.",
     "attaching-the-wsk-client-to-the-wsk-subsystem", FindingKind::kBadCall, kNotPlayed},
});

}  // namespace nmrfuzz::contract
