//! The routes: how one batch of notices reaches one receiver, once.

pub(super) mod alertmanager;
mod endpoint;
mod log;
mod token;
pub(super) mod webhook;

use std::time::{Duration, SystemTime};

use super::config::{RouteConfig, RouteMistake};
use super::notice::Notice;
use alertmanager::Alertmanager;
use log::Log;
use webhook::Webhook;

/// A route that is ready to deliver.
#[derive(Debug)]
pub(super) enum Route {
    Log(Log),
    Webhook(Webhook),
    Alertmanager(Alertmanager),
}

/// Why a batch was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What happened, without secrets.
    pub(super) text: String,
    /// What it says about the batch.
    pub(super) verdict: FailureVerdict,
    /// How long the receiver asked us to wait.
    pub(super) retry_after: Option<Duration>,
}

/// What a failure says about the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureVerdict {
    /// The receiver does not have it. Try again.
    Declined,
    /// The receiver may have it. Try again.
    Unclear,
    /// The receiver refuses the content: trying again as it is will not help.
    Refused,
}

impl Route {
    /// Makes a route ready: checks its URL, its headers, its token.
    pub(super) fn open(config: &RouteConfig) -> Result<Route, RouteMistake> {
        Ok(match config {
            RouteConfig::Log(config) => Route::Log(Log::open(config)),
            RouteConfig::Webhook(config) => Route::Webhook(Webhook::open(config)?),
            RouteConfig::Alertmanager(config) => Route::Alertmanager(Alertmanager::open(config)?),
        })
    }

    /// Tells the receiver. `Ok`: it acknowledged all of the batch.
    pub(super) async fn deliver(&self, notices: &[Notice], now: SystemTime) -> Result<(), Failure> {
        match self {
            Route::Log(log) => {
                log.deliver(notices);
                Ok(())
            }
            Route::Webhook(webhook) => webhook.deliver(notices, now).await,
            Route::Alertmanager(alertmanager) => alertmanager.deliver(notices, now).await,
        }
    }
}
