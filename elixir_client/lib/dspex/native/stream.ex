defmodule DSPex.Native.Stream do
  @moduledoc false
  # A native call as an Enumerable of events. The call runs in a process of its own, which waits for the consumer after
  # each token, so that the LM's server is read no faster than the stream; a halted stream kills it, and its request with it.

  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Native

  @spec new(DSPex.Program.t(), map | keyword, Native.LM.t(), keyword) :: Enumerable.t()
  def new(program, inputs, lm, options) do
    Stream.resource(fn -> open(program, inputs, lm, options) end, &next/1, &close/1)
  end

  defp open(program, inputs, lm, options) do
    {owner, ref} = {self(), make_ref()}
    {for_whom, options} = Keyword.pop(options, :owner)
    guard = Native.Guard.start(for_whom)
    {pid, monitor} = spawn_monitor(fn -> run(owner, ref, program, inputs, lm, options) end)
    %{pid: pid, ref: ref, monitor: monitor, seq: 0, guard: guard}
  end

  defp run(owner, ref, program, inputs, lm, options) do
    # Without it the call would outlive a consumer that was killed.
    guard = Native.Guard.start(owner)

    on_token = fn token ->
      send(owner, {ref, :token, token})
      receive do: ({^ref, :more} -> :ok)
    end

    outcome = Native.Program.call(program, inputs, lm, Keyword.put(options, :on_token, on_token))
    Native.Guard.stop(guard)
    send(owner, {ref, :outcome, outcome})
  end

  defp next(:done), do: {:halt, :done}

  defp next(%{ref: ref, monitor: monitor} = state) do
    receive do
      {^ref, :token, token} ->
        send(state.pid, {ref, :more})
        event = %Event{type: :token, seq: state.seq, field: token.field, text: token.text, last?: token.last?}
        {[event], %{state | seq: state.seq + 1}}

      {^ref, :outcome, {:ok, prediction}} ->
        Process.demonitor(monitor, [:flush])
        Native.Guard.stop(state.guard)
        {[%Event{type: :done, prediction: prediction}], :done}

      {^ref, :outcome, {:error, error}} ->
        raise error

      {:DOWN, ^monitor, :process, _pid, reason} ->
        raise Error.new(:internal, "the native call died: #{inspect(reason, limit: 5)}")
    end
  end

  defp close(:done), do: :ok

  defp close(%{pid: pid, ref: ref, monitor: monitor, guard: guard}) do
    Native.Guard.stop(guard)
    Process.demonitor(monitor, [:flush])
    Process.exit(pid, :kill)
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _kind, _value} -> flush(ref)
    after
      0 -> :ok
    end
  end
end
