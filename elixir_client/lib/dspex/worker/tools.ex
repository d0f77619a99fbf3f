defmodule DSPex.Worker.Tools do
  @moduledoc false
  # The tools that run for a worker: one supervised task each, killed by its deadline, or with the request it runs for.

  alias DSPex.Error
  alias DSPex.Protocol.Connection
  alias DSPex.Tool
  alias DSPex.Worker.ToolProcesses

  defstruct tasks: %{}, by_ref: %{}

  @type t :: %__MODULE__{tasks: %{non_neg_integer => map}, by_ref: %{reference => non_neg_integer}}

  @doc "Starts a tool for call `id` of request `request`. Its process sends `{ref, frame}` with the frame of the answer."
  def start(tools, {supervisor, table}, id, request, params, known, {encoding, cap}) do
    name = params["tool"]

    run = fn ->
      ToolProcesses.enter(table, within(params))

      outcome =
        case known do
          %{^name => tool} -> Tool.run(tool, params["arguments"])
          _none -> {:error, Error.new(:tool_error, "no tool is named #{name}", details: %{"tool" => name})}
        end

      Connection.tool_frame(encoding, cap, id, outcome)
    end

    task = Task.Supervisor.async_nolink(supervisor, run)
    timer = arm(id, timeout(known[name], params))
    entry = %{table: table, task: task, timer: timer, request: request, name: name}
    %{tools | tasks: Map.put(tools.tasks, id, entry), by_ref: Map.put(tools.by_ref, task.ref, id)}
  end

  @doc "What a message means: `{id, frame_or_error, tools}` when a tool ended by it, else `:unknown`."
  def handle(tools, {ref, frame}) when is_map_key(tools.by_ref, ref) do
    Process.demonitor(ref, [:flush])
    id = tools.by_ref[ref]
    {id, {:frame, frame}, drop(tools, id)}
  end

  def handle(tools, {:DOWN, ref, :process, _pid, reason}) when is_map_key(tools.by_ref, ref) do
    id = tools.by_ref[ref]
    error = Tool.error(tools.tasks[id].name, "its process ended: #{inspect(reason, limit: 5)}")
    {id, {:error, error}, drop(tools, id)}
  end

  def handle(tools, {:tool_timeout, id}) when is_map_key(tools.tasks, id) do
    error = Tool.error(tools.tasks[id].name, "it took longer than it may; it was stopped")
    {id, {:error, error}, kill(tools, id)}
  end

  def handle(tools, {:tool_timeout, _id}), do: {nil, :late, tools}
  def handle(_tools, _message), do: :unknown

  @doc "Stops one tool."
  def kill(tools, id) do
    case tools.tasks do
      %{^id => entry} ->
        Task.shutdown(entry.task, :brutal_kill)
        drop(tools, id)

      _gone ->
        tools
    end
  end

  @doc "Stops what runs for a request, or everything (`:all`)."
  def kill_request(tools, request) do
    ids = for {id, entry} <- tools.tasks, request == :all or entry.request == request, do: id
    Enum.reduce(ids, tools, &kill(&2, &1))
  end

  defp drop(tools, id) do
    {entry, tasks} = Map.pop!(tools.tasks, id)
    if entry.timer, do: Process.cancel_timer(entry.timer)
    ToolProcesses.leave(entry.table, entry.task.pid)
    %{tools | tasks: tasks, by_ref: Map.delete(tools.by_ref, entry.task.ref)}
  end

  defp within(params) do
    with %{"within" => within} when is_list(within) <- params["_meta"], do: within, else: (_none -> [])
  end

  defp arm(_id, :infinity), do: nil
  defp arm(id, timeout), do: Process.send_after(self(), {:tool_timeout, id}, timeout)

  defp timeout(tool, params) do
    left =
      with %{"deadline_ms" => ms} when is_integer(ms) and ms >= 0 <- params["_meta"], do: ms, else: (_none -> :infinity)

    # An atom is larger than any number: the smaller of two timeouts is right for :infinity too.
    min(left, if(tool, do: tool.timeout, else: :infinity))
  end
end
