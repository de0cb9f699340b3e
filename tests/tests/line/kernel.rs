//! What only the kernel transmitter can meet: frames that leave the program and that the driver does not take.

use rollcall_agent::unit::{Blind, Verdict};
use rollcall_tests::fleet::Mode;
use rollcall_tests::webhook::Receiver;

use crate::stage::{Stage, a_while, cloud};

#[test]
fn frames_that_the_driver_drops_make_unknown_and_tell_nobody() {
    let Some(stage) = Stage::new("drops", cloud(40, 10), Mode::Native) else { return };
    stage.play(async {
        let receiver = Receiver::start().await?;
        let mut agent = stage.agent(Some(&receiver), "").await?;
        stage.push(&agent, &stage.table(40, 0)).await?;
        stage.until(&mut agent, Verdict::Up, 40).await?;
        // Without a program at its end the pair takes no frames from ours; no error, no carrier tells of it.
        stage.lab.unplug_fleet()?;
        stage.until(&mut agent, Verdict::Unknown, 40).await?;
        a_while().await;
        let status = agent.status().await?;
        assert_eq!((status.verdicts["unknown"], status.verdicts["down"], status.misses), (40, 0, 0), "{status:?}\n{}", stage.log());
        let reason = agent.host("vm-000001").await?.and_then(|host| host.addresses[0].now.reason);
        assert_eq!(reason, Some(Blind::SendError));
        let (_, metrics) = agent.get("/metrics").await?;
        let dropped = metrics.lines().find_map(|line| line.strip_prefix(r#"rollcall_send_errors_total{network="lab"} "#));
        assert!(dropped.is_some_and(|count| count != "0"), "{metrics}");
        assert_eq!(receiver.arrivals().len(), 0);
        Ok(())
    });
}
