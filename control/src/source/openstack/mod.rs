//! OpenStack: ports of Neutron, servers of Nova, joined by `device_id`.

pub mod change;
pub mod model;
