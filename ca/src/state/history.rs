//! stub
use fireaxe_protocol::api::RecentUse;
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::policy::Roster;
#[derive(Debug, Default)]
pub struct History;
impl History {
    pub fn recent(&self, _: &PersonName, _: &Roster) -> Vec<RecentUse> {
        Vec::new()
    }
    pub fn in_a_row(&self, _: &Roster, _: &PersonName, _: &PersonName) -> u32 {
        0
    }
    pub fn approvals_1h(&self, _: &Roster, _: &PersonName, _: u64) -> u32 {
        0
    }
}
