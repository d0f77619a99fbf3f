defmodule DSPex.Telemetry.Handlers do
  @moduledoc false
  # Owns the table of handlers that stands in for `:telemetry` where that library is not installed.
  use GenServer

  @table __MODULE__

  def start_link(_options), do: GenServer.start_link(__MODULE__, :ok, name: __MODULE__)

  def attach(id, event, function, config) do
    if :ets.insert_new(@table, {{:id, id}, event, function, config}), do: :ok, else: {:error, :already_exists}
  end

  def detach(id) do
    if :ets.take(@table, {:id, id}) == [], do: {:error, :not_found}, else: :ok
  end

  def for_event(event) do
    :ets.select(@table, [{{{:id, :"$1"}, event, :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
  end

  @impl GenServer
  def init(:ok) do
    :ets.new(@table, [:named_table, :public, :set, read_concurrency: true])
    {:ok, nil}
  end
end
