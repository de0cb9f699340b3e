//! Tasks that work as long as the process does. One that ends sooner, by a panic most likely, would leave its source or its agent as they
//! are, with metrics that say that all is well: then the process ends, and whoever started it starts it anew.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinSet};

/// The tasks, by what they are called in messages. They end with it.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Starts one.
    pub fn start(&mut self, name: String, work: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.set.spawn(work).id(), name);
    }

    /// Waits until one ends, which none should; says which and why.
    pub async fn ended(&mut self) -> anyhow::Error {
        let (id, why) = match self.set.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        anyhow!("{} ended, which should not be: {why}", self.names.remove(&id).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_panics_or_returns_is_named() {
        let mut tasks = Tasks::default();
        tasks.start("the quiet one".into(), std::future::pending());
        tasks.start("source \"list\"".into(), async { panic!("as it were") });
        let error = tasks.ended().await.to_string();
        assert!(error.starts_with("source \"list\" ended") && error.contains("panicked"), "{error}");
        tasks.start("agent \"a\"".into(), async {});
        assert!(tasks.ended().await.to_string().starts_with("agent \"a\" ended"));
    }
}
