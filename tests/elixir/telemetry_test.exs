defmodule DSPex.TelemetryTest do
  use ExUnit.Case, async: true

  alias DSPex.Telemetry
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @moduletag req: "NFR5.2.4"
  @program DSPex.Predict.new("question -> answer")

  @doc false
  def tell(event, measurements, metadata, {test, instance}),
    do: if(metadata.instance == instance, do: send(test, {event, measurements, metadata}))

  defp listen(event, instance) do
    id = {__MODULE__, event, make_ref()}
    :ok = Telemetry.attach(id, event, &__MODULE__.tell/4, {self(), instance})
    on_exit(fn -> Telemetry.detach(id) end)
  end

  test "the docs name every event that the code emits" do
    {:docs_v1, _line, _language, _format, %{"en" => docs}, _metadata, _functions} = Code.fetch_docs(Telemetry)

    for file <- Path.wildcard("elixir_client/lib/dspex/**/*.ex"),
        [call] <- Regex.scan(~r/Telemetry\.(?:execute|span)\((\[:[^\]]*\])/, File.read!(file), capture: :all_but_first) do
      # A name that is only known when it runs stands for several rows.
      assert docs =~ String.replace(call, ~r/, event\]\z|\]\z/, ""), "#{file} emits #{call}"
    end
  end

  @tag req: "FR2.1.4"
  test "a call that waited for its place tells how long" do
    test = self()
    script = %{"module.call" => fn link, id, _params -> send(test, {:called, link, id}) end}
    instance = Peer.start_instance(__MODULE__.Checkout, script, max_in_flight: 1)
    listen([:dspex, :pool, :checkout], instance)
    first = Task.async(fn -> DSPex.call(@program, %{question: "?"}, instance: instance) end)
    assert_receive {:called, link, id}, 5_000
    second = Task.async(fn -> DSPex.call(@program, %{question: "?"}, instance: instance) end)
    Wait.queued(instance, 1)
    Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    assert_receive {[:dspex, :pool, :checkout], %{waited: waited}, %{pool: :default}}, 5_000
    assert waited > 0
    assert_receive {:called, link, id}, 5_000
    Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    assert [{:ok, _one}, {:ok, _two}] = Task.await_many([first, second])
  end

  @tag req: "FR2.3.4"
  test "sessions tell when they open and close" do
    script = %{
      "session.open" => fn link, id, _params -> Peer.result(link, id, %{"session" => "s-1"}) end,
      "session.close" => fn link, id, _params -> Peer.result(link, id, %{"closed" => true}) end
    }

    instance = Peer.start_instance(__MODULE__.Session, script)
    for event <- [:open, :close], do: listen([:dspex, :session, event], instance)
    {:ok, session} = DSPex.Session.open(instance: instance, tenant: "t", strict: true)
    assert_receive {[:dspex, :session, :open], %{count: 1}, %{tenant: "t", strict: true}}
    {:ok, _closed} = DSPex.Session.close(session)
    assert_receive {[:dspex, :session, :close], %{count: 1}, %{tenant: "t", pool: nil}}
  end
end
