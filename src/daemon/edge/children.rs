//! Children: one task for each.

use std::rc::Rc;

use smol::future::yield_now;

use super::{Edge, Event};
use crate::agent::{ChildId, Command, Ending};
use crate::sys::child::{Child, Happening};

impl Edge {
    pub(super) fn spawn(self: &Rc<Self>, id: ChildId, command: &Command) {
        match self.children.spawn(command) {
            Ok(child) => {
                self.running.borrow_mut().insert(id, child.handle());
                self.executor.spawn(self.clone().look_after(id, child)).detach();
            }
            Err((step, errno)) => {
                let ending = Ending::NotRun(step, errno.raw_os_error());
                self.handle(Event::Ended { child: id, ending });
            }
        }
    }

    pub(super) fn examine(&self, child: ChildId) {
        // It may have ended this very moment.
        self.children.reap();
        let handle = self.running.borrow().get(&child).filter(|handle| !handle.has_ended()).cloned();
        if let Some(handle) = handle {
            let place = handle.kernel_function();
            self.handle(Event::Examined { child, place: place.as_deref() });
        }
    }

    async fn look_after(self: Rc<Self>, id: ChildId, mut child: Child) {
        loop {
            let happening = {
                let mut buffer = self.buffer.borrow_mut();
                let happening = child.next(&mut buffer);
                if let Some(Happening::Output(stream, count)) = happening {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    self.handle(Event::Output { child: id, stream, bytes });
                }
                happening
            };
            match happening {
                Some(Happening::Output(..)) => {
                    self.pump();
                    yield_now().await;
                }
                Some(Happening::Ended(ending)) => {
                    self.running.borrow_mut().remove(&id);
                    return self.tell(Event::Ended { child: id, ending });
                }
                None => child.ready().await,
            }
        }
    }
}
