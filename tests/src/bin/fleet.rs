//! Simulated hosts in one process, started by the tests: see `fireaxe_tests::fleet`.

fn main() {
    fireaxe_tests::fleet::main();
}
