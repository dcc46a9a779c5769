#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_fuzz::soupbintcp(bytes));
